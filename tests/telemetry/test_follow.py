"""Log lines for a follower: what comes out of Python's logging, who is slow, and lines read back into values."""

from __future__ import annotations

import json
import logging

import pytest

from swell.telemetry.follow import WAITING_MAX, Sending, parse


class Follower:
    """Takes `room` bytes; `gone` once it has left."""

    def __init__(self, room: float = float("inf")) -> None:
        self.room = room
        self.gone = False
        self.data = b""

    def take(self, data: bytes) -> int | None:
        if self.gone:
            return None
        taken = int(min(self.room, len(data)))
        self.room -= taken
        self.data += data[:taken]
        return taken

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.data.splitlines()]


@pytest.fixture(autouse=True)
def _whole_logging() -> object:
    """Loggers as a server has them, put back afterwards."""
    server = logging.getLogger("swell")
    before = server.level, server.propagate
    server.setLevel(logging.DEBUG)
    yield
    server.setLevel(before[0])
    server.propagate = before[1]


@pytest.mark.parametrize("propagate", [True, False])
def test_a_record_is_sent_once(propagate: bool) -> None:
    logging.getLogger("swell").propagate = propagate
    follower = Follower()
    sending = Sending(logging.INFO, True, follower.take)
    sending.attach()
    try:
        logging.getLogger("swell").warning("worker %d", 3)
        logging.getLogger("swell").debug("too little")
        logging.getLogger("the.application").error("wrong\nin two lines")
    finally:
        sending.detach()
    logging.getLogger("swell").warning("after the end")
    assert [(line["logger"], line["level"], line["message"]) for line in follower.lines] == [
        ("swell", "warning", "worker 3"),
        ("the.application", "error", "wrong\nin two lines"),
    ]


def test_records_of_the_access_log_have_its_names() -> None:
    follower = Follower()
    sending = Sending(logging.CRITICAL, True, follower.take)
    log = logging.getLogger("swell.access")
    details = {"duration_ms": 1.5, "request_id": "abc"}
    record = log.makeRecord(
        log.name, logging.INFO, "", 0, "", ("1.2.3.4:5", "GET", "/x", "1.1", 200), None, extra=details
    )
    sending.handle(record)
    (line,) = follower.lines
    assert (line["path"], line["status"], line["duration_ms"], line["request_id"]) == ("/x", 200, 1.5, "abc")


def test_a_slow_follower_loses_lines_and_is_told_how_many() -> None:
    follower = Follower(0)
    sending = Sending(logging.NOTSET, True, follower.take)
    sending.attach()
    try:
        log = logging.getLogger("swell")
        for number in range(2000):
            log.warning("%d %s", number, "x" * 500)
        follower.room = float("inf")
        log.warning("the last one")
    finally:
        sending.detach()
    kept = [line for line in follower.lines if "message" in line]
    (lost,) = [line["lines_lost"] for line in follower.lines if "lines_lost" in line]
    assert isinstance(lost, int)
    assert lost > 0
    assert len(kept) + lost == 2001
    assert len(follower.data) < WAITING_MAX + 1000


def test_a_follower_that_has_gone_is_forgotten() -> None:
    follower = Follower()
    sending = Sending(logging.NOTSET, True, follower.take)
    sending.attach()
    follower.gone = True
    logging.getLogger("swell").warning("nobody hears this")
    assert sending not in logging.getLogger("swell").handlers
    assert sending not in logging.getLogger().handlers


LINE = (
    '2026-11-21T16:05:38.148+00:00 127.0.0.1:54350 "GET /x?a=1 HTTP/1.1" \x1b[32m200\x1b[0m 12.084ms first=0.083'
    ' dispatch=0.044 in=0 out=2 "curl/7.88.1" trace=4bf9 id=abc-1'
)


def test_lines_are_read_back() -> None:
    values = parse(LINE)
    assert values is not None
    assert (values["method"], values["path"], values["http_version"]) == ("GET", "/x?a=1", "1.1")
    assert (values["status"], values["duration_ms"], values["request_id"]) == (200, 12.084, "abc-1")
    nothing = parse(LINE.replace("\x1b[32m200\x1b[0m", "-").replace("GET /x?a=1 HTTP/1.1", "\\x16\\x03"))
    assert nothing is not None
    assert (nothing["status"], nothing["request"]) == (None, "\\x16\\x03")
    assert parse('{"logger":"swell.access","status":200}') == {"logger": "swell.access", "status": 200}
    assert parse("anything else") is None
    assert parse("{broken") is None
