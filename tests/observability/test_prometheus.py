"""The files of docs/observability, with Prometheus itself: its checks, its rules, and a server that it scrapes."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lifecycle.test_admin import ask, served
from support.kernel import wait_until
from support.metrics import Admin

FILES = Path(__file__).parents[2] / "docs" / "observability"
SECONDS = 30.0
# Series that an idle, healthy server on its own machine may not have.
MAY_BE_EMPTY = ("http_response_status_code=~", "swell_scaling_decisions_total", "swell_worker_exits_total")


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions() -> list[str]:
    """Those of the dashboard, with Grafana's variables as a person would set them."""
    dashboard = json.loads((FILES / "swell-dashboard.json").read_text(encoding="utf-8"))
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    found += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    return [text.replace("$__rate_interval", "1m").replace("$instance", ".*") for text in found]


def test_the_files_are_valid() -> None:
    promtool("check", "config", str(FILES / "prometheus.yml"))
    promtool("check", "rules", str(FILES / "swell-alerts.yml"))


def test_each_alert_fires_for_what_it_is_for(tmp_path: Path) -> None:
    cases = Path(__file__).with_name("alerts.yml")
    for file in (FILES / "swell-alerts.yml", cases):
        shutil.copy(file, tmp_path)
    promtool("test", "rules", str(tmp_path / cases.name))
    rules = (FILES / "swell-alerts.yml").read_text(encoding="utf-8")
    told = cases.read_text(encoding="utf-8")
    untested = [name for name in re.findall(r"- alert: (\w+)", rules) if name not in told]
    assert not untested


class Prometheus:
    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, **query: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(query)}")
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, text: str) -> list[float]:
        return [float(sample["value"][1]) for sample in self.get("query", query=text)["result"]]

    @property
    def is_up(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return self.query('up{job="swell"}') == [1]
        return False


@contextmanager
def prometheus(target: Admin) -> Iterator[Prometheus]:
    """Scrapes every second, by the example's configuration."""
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        config = (FILES / "prometheus.yml").read_text(encoding="utf-8")
        config = config.replace("127.0.0.1:9000", f"127.0.0.1:{target.port}").replace("15s", "1s")
        shutil.copy(FILES / "swell-alerts.yml", directory)
        (Path(directory) / "prometheus.yml").write_text(config, encoding="utf-8")
        command = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
        with (Path(directory) / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT
            )
        found = Prometheus(port)
        try:
            wait_until(lambda: found.is_up, "it scrapes the server", SECONDS)
            yield found
        finally:
            process.terminate()
            process.wait(SECONDS)


def test_a_prometheus_scrapes_and_every_panel_has_data(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as (server, admin), prometheus(admin) as database:
        ask(server, "/a/1", 5)
        # A rate needs two samples.
        wait_until(lambda: len(database.query("count_over_time(up{job='swell'}[1m]) >= 3")) == 1, "scraped", SECONDS)
        ask(server, "/a/1", 5)
        rate = "sum(rate(http_server_request_duration_seconds_count[1m])) > 0"
        wait_until(lambda: bool(database.query(rate)), "a rate is seen", SECONDS)
        for text in expressions():
            result = database.get("query", query=text)["result"]
            assert result or any(name in text for name in MAY_BE_EMPTY) or ">" in text, text
        total = "sum(http_server_request_duration_seconds_count)"
        wait_until(lambda: database.query(total) == [10], "the numbers are those of the requests", SECONDS)
        (rules,) = database.get("rules")["groups"]
        broken = {rule["name"]: rule["lastError"] for rule in rules["rules"] if rule.get("lastError")}
        assert not broken
        # Prometheus negotiates OpenMetrics: types and units have come with it.
        metadata = database.get("metadata", metric="http_server_request_duration_seconds")
        assert metadata["http_server_request_duration_seconds"][0]["type"] == "histogram"
