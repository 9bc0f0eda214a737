"""A server with `--otel`, and the spans that come from it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.kernel import wait_until
from support.server import ServerProcess, serving

from telemetry.receiver import Receiver, Span

__all__ = ["ERROR", "INTERNAL", "SERVER", "ask", "one", "traced"]

SERVER, INTERNAL, ERROR = 2, 1, 2


@contextmanager
def traced(tmp_path: Path, spans: Receiver, source: str, *options: str, **environment: str) -> Iterator[ServerProcess]:
    """A server whose spans arrive there."""
    (tmp_path / "main.py").write_text(source)
    places = ("--runtime-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": spans.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_SERVICE_NAME": "shop",
        **environment,
    }
    with serving(
        "main:app", "--otel", "--no-access-log", *places, *options, directory=tmp_path, environment=variables
    ) as server:
        yield server


def ask(server: ServerProcess, path: str, method: str = "GET", **headers: str) -> int:
    """The status of an answer."""
    connection = http.client.HTTPConnection(*server.address, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def one(spans: Receiver, name: str) -> Span:
    """The only span of that name, when it has come."""
    wait_until(lambda: bool(spans.named(name)), f"a span {name}")
    (found,) = spans.named(name)
    return found
