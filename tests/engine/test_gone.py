"""Of a connection that an earlier step has ended the poller may still have something to say."""

import os
from pathlib import Path

import pytest
from support import raw
from support.kernel import wait_until
from support.raw import connected
from support.server import serving, with_tests

SERVED = Path(__file__).parent / "served"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_event_of_a_connection_that_the_step_before_it_has_ended(loop: str, tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    environment = {"HELD": str(held), **with_tests()}
    with (
        serving("across:app", directory=SERVED, loop=loop, environment=environment) as server,
        connected(server.address) as subscriber,
        connected(server.address) as publisher,
        connected(server.address) as blocker,
    ):
        subscriber.request("/subscribe")
        while subscriber.take_line() != b"subscribed":
            pass
        assert publisher.get("/ended").body == b"0"
        blocker.request("/block")
        with held.open("w"):
            # The worker waits for the end of this file. After it, both are ready, in this order.
            publisher.request("/publish")
            subscriber.reset()
        assert blocker.response().status == 200
        assert publisher.response().status == 200
        wait_until(lambda: raw.get(server.address, "/ended").body == b"1", "the subscriber's application has ended")
