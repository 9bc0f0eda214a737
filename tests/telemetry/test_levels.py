"""The server's log: what is worth which level, by whose fault it is, and how lines look."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

import pytest
from support.raw import connected

from swell.telemetry.formats import JsonFormatter, TextFormatter
from telemetry.support import ask, logged


@pytest.mark.parametrize("level", ["debug", "info"])
def test_the_client_left_is_a_debug_message(level: str, loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with logged(log, "--log-level", level, loop=loop) as server:
        with connected(server.address) as connection:
            connection.send(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")
            while b"more" not in connection.input:
                connection.input += connection.socket.recv(4096)
            connection.reset()
        if level == "debug":
            server.expect_error("ClientDisconnected")
            server.wait_for_log(r"DEBUG: .* GET /stream: the application ended after the client had gone")
    assert " disconnected" in log.read_text()
    if level == "info":  # forked, ready, listening, SIGTERM
        assert [line.split(" ")[1] for line in server.log.splitlines()] == ["INFO:"] * 4


def test_a_protocol_error_is_one_warning_with_reason_and_section(loop: str, tmp_path: Path) -> None:
    with logged(tmp_path / "access.log", loop=loop) as server:
        mark = server.mark()
        with connected(server.address) as connection:
            connection.send(b"GET / HTTP/1.1\r\nbad\x1b name: x\r\n\r\n")
            assert connection.response().status == 400
        server.wait_for_log(r"WARNING: 127\.0\.0\.1:\d+: 400, .* \(RFC 9110 §5\.1\)$")
        assert len(server.log_since(mark)) == 1


def test_an_application_error_is_an_error_with_its_traceback(loop: str, tmp_path: Path) -> None:
    with logged(tmp_path / "access.log", loop=loop) as server:
        server.expect_error("ValueError")
        mark = server.mark()
        with connected(server.address) as connection:
            assert ask(connection, "/raise").status == 500
        server.wait_for_log("^ValueError: raised on purpose$")
        lines = server.log_since(mark)
    assert lines[0].endswith("GET /raise: exception in the ASGI application\n")
    assert " ERROR: " in lines[0]
    assert lines[1] == "Traceback (most recent call last):\n"
    assert not any("/swell/" in line for line in lines if line.startswith("  File"))


def test_json_has_one_object_per_line(tmp_path: Path) -> None:
    with logged(tmp_path / "access.log", "--log-format", "json") as server:
        server.expect_error("ValueError")
        with connected(server.address) as connection:
            ask(connection, "/raise")
        server.stop()
    entries = [json.loads(line) for line in server.log.splitlines()]
    (error,) = (entry for entry in entries if entry["level"] == "error")
    assert error["exception"].endswith("ValueError: raised on purpose")
    assert error["logger"] == "swell"
    assert all({"time", "level", "logger", "message"} <= entry.keys() for entry in entries)


def record(message: str, level: int = logging.INFO, *, failed: bool = False) -> logging.LogRecord:
    try:
        if failed:
            raise ValueError("with\x1b[2J escape")
    except ValueError:
        return logging.LogRecord("swell", level, "", 0, message, (), sys.exc_info())
    return logging.LogRecord("swell", level, "", 0, message, (), None)


def test_text_shows_controls_and_keeps_lines() -> None:
    shown = TextFormatter().format(record("a\r\x1b[31mb\u202e", failed=True))
    first, second, *_, last = shown.split("\n")
    assert first.endswith(r" INFO: a\x0d\x1b[31mb\u202e")
    assert second == "Traceback (most recent call last):"
    assert last == r"ValueError: with\x1b[2J escape"


@pytest.mark.parametrize(
    ("level", "color"), [(5, "\x1b[2m"), (20, "\x1b[32m"), (25, "\x1b[32m"), (30, "\x1b[33m"), (50, "\x1b[1;31m")]
)
def test_levels_have_colours(level: int, color: str) -> None:
    name = logging.getLevelName(level)
    assert f" {color}{name}:\x1b[0m text" in TextFormatter(colors=True).format(record("text", level))
    assert "\x1b" not in TextFormatter().format(record("text", level))


def test_json_escapes() -> None:
    line = JsonFormatter().format(record('a\n"\x1b\x9b\u202e§', failed=True))
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", line)
    assert "§" in line
    assert json.loads(line)["message"] == 'a\n"\x1b\x9b\u202e§'
