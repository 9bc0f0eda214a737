"""The last requests of a server: who is sent away when, so that nobody is cut and nobody comes all at once.

Clients of WebSockets and of event streams come again by themselves. Sent away at once, all of them would connect to the
other workers, or to the successor, at once; so they are sent away one after the other. Event streams are given the
rest of the time, and are ended before the deadline rather than cut by it. What that means on the wire is the
engine's; when the deadline is and what follows is `Server`'s, who calls this.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

__all__ = ["Leaving", "part", "spread"]

# Seconds between two groups.
TICK = 0.05
# What one client adds to the time over which they are sent away: a hundred handshakes a second are little.
PER_CLIENT = 0.01
# That time is at most this, and at most a third of what requests have to finish: the rest is for what ends slowly.
SPREAD_AT_MOST = 10.0
SPREAD_SHARE = 1 / 3
# Streams are over this long before the deadline, or a tenth of the time before, so that their clients can take the end.
MARGIN = 1.0
MARGIN_SHARE = 1 / 10


class Leaving(Protocol):
    """What of the engine is used here."""

    def dismiss(self, count: int | None = None, code: int = 1012) -> int: ...
    def end_streams(self, count: int | None = None) -> int: ...


def spread(clients: int, allowed: float | None) -> float:
    """Over how many seconds so many clients are sent away, when requests have `allowed` seconds to finish."""
    share = SPREAD_AT_MOST if allowed is None else allowed * SPREAD_SHARE
    return min(clients * PER_CLIENT, share, SPREAD_AT_MOST)


async def part(engine: Leaving, allowed: float | None) -> None:
    """Sends clients away until it is cancelled. With no time allowed, all at once."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    clients = engine.dismiss(0)
    over, sent = spread(clients, allowed), 0
    while True:
        passed = loop.time() - began
        if passed + TICK >= over:
            engine.dismiss()  # those as well who have come meanwhile
        else:
            due = int(clients * (passed + TICK) / over)
            engine.dismiss(due - sent)
            sent = due
        if allowed is not None:
            _end_streams(engine, passed, allowed)
        await asyncio.sleep(TICK)


def _end_streams(engine: Leaving, passed: float, allowed: float) -> None:
    """As late as possible and evenly, so that the last one has ended a little before the deadline."""
    left = allowed - min(MARGIN, allowed * MARGIN_SHARE) - passed
    if left < TICK:
        engine.end_streams()
    elif left < allowed * SPREAD_SHARE:
        engine.end_streams(int(engine.end_streams(0) * TICK / left))
