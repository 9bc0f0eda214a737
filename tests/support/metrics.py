"""What a running server says of itself at `/metrics`, as numbers."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Admin", "parsed"]

SECONDS = 20.0


def parsed(text: str) -> dict[str, float]:
    """By name and labels, `name{a=b,c=d}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@dataclass(frozen=True)
class Admin:
    """The admin address of a server."""

    port: int

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, fields, body. In the names of `headers`, `_` stands for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            if body is not None:
                named.setdefault("content-type", "application/json")
            connection.request(method, path, body, named)
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return response.status, fields, response.read().decode()
        finally:
            connection.close()

    def document(self, path: str) -> tuple[int, Any]:
        status, _, body = self.ask("GET", path)
        return status, json.loads(body)

    def metrics(self) -> dict[str, float]:
        status, _, body = self.ask("GET", "/metrics")
        assert status == 200, body
        return parsed(body)
