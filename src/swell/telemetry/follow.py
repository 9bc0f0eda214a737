"""Log lines for somebody who follows: out of Python's logging, without ever waiting, and back into values.

`Sending` hands records on as JSON lines while it is attached to the loggers; `parse` reads a line of either log, text
or JSON, into one and the same dict. The engine's access lines come another way (`crates/engine/src/access/tap.rs`).
Used by workers and the parent; `swell logs` parses.
"""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Callable
from typing import Any

from swell.telemetry.formats import JsonFormatter, rfc3339

__all__ = ["ESCAPES", "Sending", "parse", "to_socket"]

# Lines that may wait for a follower that does not read, in bytes; besides the socket's own buffer.
WAITING_MAX = 256 * 1024
_LOGGERS = ("", "swell", "swell.access")
_MARK = "_swell_followed"
_ACCESS = ("client", "method", "path", "http_version", "status")
_DETAILS = (
    "duration_ms", "first_byte_ms", "dispatch_ms", "bytes_in", "bytes_out", "user_agent", "request_id", "trace_id",
    "traceparent", "refused", "rfc", "disconnected", "aborted", "close_code",
)  # fmt: skip

# What colours a line.
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_TEXT = re.compile(
    r'(?P<time>\S+) (?P<client>.*?) "(?P<request>.*?)" (?P<status>\d+|-) (?P<duration_ms>[\d.]+)ms(?P<rest>.*)'
)
_REQUEST = re.compile(r"(?P<method>\S+) (?P<path>.*) HTTP/(?P<http_version>\S+)")
_ID = re.compile(r" id=(\S+)$")


class Sending(logging.Handler):
    """`send` takes bytes and returns how many went, or None when the follower has gone; it never waits.

    `access`: whether records of the access log are wanted, which only come here where logging was configured for them.
    """

    def __init__(self, level: int, access: bool, send: Callable[[bytes], int | None]) -> None:
        super().__init__(logging.NOTSET)
        self.setFormatter(JsonFormatter())
        self._least = level
        self._access = access
        self._send = send
        self._waiting = b""
        self._lost = 0

    def attach(self) -> None:
        for name in _LOGGERS:
            logging.getLogger(name or None).addHandler(self)

    def detach(self) -> None:
        for name in _LOGGERS:
            logging.getLogger(name or None).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        is_access = record.name == "swell.access"
        wanted = self._access if is_access else record.levelno >= self._least
        if not wanted or getattr(record, _MARK, None) is self:
            return
        setattr(record, _MARK, self)  # a record passes by several loggers
        try:
            line = _access_line(record) if is_access else self.format(record)
            self._put(line.encode("utf-8", "backslashreplace") + b"\n")
        except Exception:
            self.handleError(record)

    def _put(self, line: bytes) -> None:
        if len(self._waiting) + len(line) > WAITING_MAX:
            self._lost += 1
        else:
            self._waiting += line
        while self._waiting:
            sent = self._send(self._waiting)
            if sent is None:
                self.detach()
                return
            if sent == 0:
                return
            self._waiting = self._waiting[sent:]
            if not self._waiting and self._lost:
                self._waiting = json.dumps({"logger": "swell", "lines_lost": self._lost}).encode() + b"\n"
                self._lost = 0


def to_socket(end: socket.socket) -> Callable[[bytes], int | None]:
    """For `Sending`, over a stream socket that does not block."""

    def send(data: bytes) -> int | None:
        try:
            return end.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return None

    return send


def _access_line(record: logging.LogRecord) -> str:
    """As the engine writes it with --log-format json."""
    values = record.args if isinstance(record.args, tuple) else ()
    entry: dict[str, Any] = {"time": rfc3339(record), "level": "info", "logger": record.name}
    entry |= zip(_ACCESS, values, strict=False)
    entry["status"] = entry.get("status") or None
    entry |= {name: record.__dict__[name] for name in _DETAILS if name in record.__dict__}
    return json.dumps(entry)


def parse(line: str) -> dict[str, Any] | None:
    """The values of a line, with the names that JSON lines have; None if it is no line of ours."""
    if line.startswith("{"):
        try:
            found = json.loads(line)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None
    match = _TEXT.fullmatch(ESCAPES.sub("", line))
    if match is None:
        return None
    values: dict[str, Any] = {"logger": "swell.access", "time": match["time"], "client": match["client"]}
    request = _REQUEST.fullmatch(match["request"])
    values |= request.groupdict() if request else {"request": match["request"]}
    values["status"] = None if match["status"] == "-" else int(match["status"])
    values["duration_ms"] = float(match["duration_ms"])
    if found_id := _ID.search(match["rest"]):
        values["request_id"] = found_id[1]
    return values
