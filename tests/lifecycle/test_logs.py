"""`swell logs` on real instances: the lines of all workers, wherever the log goes otherwise, and nobody waits."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.kernel import wait_until

from lifecycle.asking import SECONDS, Told, told
from swell.supervisor.control.client import Client, find

CONFIG = {
    "version": 1,
    "handlers": {"null": {"class": "logging.NullHandler"}, "err": {"class": "logging.StreamHandler"}},
    "loggers": {
        "swell": {"handlers": ["err"], "level": "INFO"},
        "swell.access": {"handlers": ["null"], "level": "INFO", "propagate": False},
    },
}


@contextmanager
def following(server: Told, *options: str) -> Iterator[list[dict[str, Any]]]:
    """What the command has printed so far, once it follows."""
    process = subprocess.Popen(server.line("logs", "--json", *options), stdout=subprocess.PIPE, text=True)
    lines: list[dict[str, Any]] = []

    def keep() -> None:
        assert process.stdout is not None
        for line in process.stdout:  # as they come
            lines.append(json.loads(line))

    reader = threading.Thread(target=keep, daemon=True)
    reader.start()
    try:

        def follows() -> bool:
            server.get("/hello")
            return any(line.get("path") == "/hello" for line in lines)

        wait_until(follows, "it follows", SECONDS)
        yield lines
    finally:
        process.terminate()
        process.wait(SECONDS)
        reader.join(SECONDS)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("how", ["off", "text", "json", "logging"])
def test_wherever_the_access_log_goes(how: str, tmp_path: Path) -> None:
    config = tmp_path / "log.json"
    config.write_text(json.dumps(CONFIG))
    options = {
        "off": ["--no-access-log"],
        "text": ["--log-format", "text"],
        "json": ["--log-format", "json"],
        "logging": ["--log-config", str(config)],
    }[how]
    with told(*options, "--request-id", "make", "--workers", "1..3") as server:
        with following(server) as lines:
            server.get("/sleep/0.02?a=1")
            wanted = [("/sleep/0.02?a=1", 200)]
            wait_until(
                lambda: wanted[0] in [(line.get("path"), line.get("status")) for line in lines], "it is there", SECONDS
            )
            (line,) = [line for line in lines if line.get("path") == wanted[0][0]]
            assert line["duration_ms"] >= 20
            assert len(line["request_id"]) == 36
            assert line["worker"] > 0
            server.command("scale", "3")
            wait_until(lambda: any("worker 2 " in line.get("message", "") for line in lines), "the parent's", SECONDS)
            assert {line["worker"] for line in lines if line["logger"] == "swell"} == {0}

            def another() -> bool:
                server.get("/hello")
                return any(line["worker"] > 1 for line in lines)

            wait_until(another, "a new worker's lines, too", SECONDS)
        # Nobody follows any more: the next one does all the same.
        with following(server, "--path", "/he*") as lines:
            server.get("/sleep/0")
            server.get("/hello")
            assert {line["path"] for line in lines} == {"/hello"}


def test_a_follower_that_does_not_read_slows_nobody_down() -> None:
    with told("--no-access-log") as server:
        client = Client(find(runtime_dir=str(server.runtime), environ={}))
        batches = client.follow("/v1/logs?level=off")
        assert next(batches) is None
        path, number = "/" + "x" * 4000, 2000
        hellos = lines = lost = 0

        def took(batch: dict[str, Any] | None) -> None:
            nonlocal hellos, lines, lost
            if batch is not None:
                lost += batch["lost"]
                values = [json.loads(line) for line in batch["lines"]]
                lost += sum(value.get("lines_lost", 0) for value in values)
                hellos += sum(value.get("path") == "/hello" for value in values)
                lines += sum(value.get("path") == path for value in values)

        # The tap is there once a line has come through.
        while not hellos:
            server.get("/hello")
            took(next(batches))
        server.get_many(path, number)

        def everything() -> bool:
            nonlocal number
            batch = next(batches)
            if batch is None:  # what was lost last is told with the next line
                server.get(path)
                number += 1
            took(batch)
            return lost > 0 and lines + lost == number

        wait_until(everything, "each line has come or was counted", SECONDS)
        assert lines > 100


@pytest.mark.skipif(sys.platform != "linux", reason="one look is enough")
def test_the_stream_ends_with_the_instance() -> None:
    with told() as server:
        process = subprocess.Popen(server.line("logs", "--level", "info"), stdout=subprocess.PIPE, text=True)
        with process:
            mark = server.server.mark()
            server.command("status")
            assert process.stdout is not None
            server.command("scale", "2")
            server.server.wait_for_log("worker 2 .* is ready", since=mark)
            server.command("stop")
            assert process.wait(SECONDS) == 0
        server.server.wait_for_end()
