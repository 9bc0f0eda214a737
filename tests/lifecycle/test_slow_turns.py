"""Turns of the event loop that take too long are logged with what blocked them, whatever it was; others are not."""

from __future__ import annotations

import re
import sys

import pytest

from lifecycle.asking import Told, told

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the loop's thread is looked at through /proc")


def entries(server: Told) -> list[str]:
    """Those about slow turns, with the lines below them."""
    found = re.split(r"(?m)^(?=\d{4}-\d\d-\d\d)", server.server.log)
    return [text for text in found if "its event loop was blocked" in text]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_blocks_is_named(loop: str) -> None:
    options = ("--slow-callback", "100ms", "--request-id", "make", "--no-access-log")
    with told(*options, loop=loop) as server:
        for path, line in {
            "/sleep/0.4": 'time.sleep(float(rest[0]))  # noqa: ASYNC251 - what must not be done',
            "/later/0.4": "time.sleep(float(rest[0]))  # noqa: ASYNC251 - in a later step",
            "/background/0.4": "time.sleep(seconds)  # noqa: ASYNC251 - in no request",
        }.items():  # fmt: skip
            before = len(entries(server))
            server.get(path)
            server.server.wait_for_log(re.escape(line), 20)
            (text,) = entries(server)[before:]
            milliseconds = int(re.findall(r"was blocked for (\d+) ms", text)[0])
            # A turn is never said to be longer than it was, but for what a busy machine adds to it.
            assert milliseconds >= 200, text
            route = path.split("/")[1]
            if route == "background":
                assert "task 'in the background'" in text
                assert " in GET" not in text
            else:
                assert re.search(rf" in GET /{route}/0\.4 id [0-9a-f-]{{36}}, task ", text), text


def test_quick_turns_are_not_told_and_off_is_off() -> None:
    with told("--slow-callback", "5s", "--no-access-log") as server:
        for _ in range(3):
            server.get("/sleep/0.3")
        assert not entries(server)
    with told("--slow-callback", "off", "--no-access-log") as server:
        server.get("/sleep/0.5")
        server.get("/sleep/0.1")
        assert not entries(server)
