"""Two functions whose shares of the time are known, because they measure themselves: for the samplers of a profile.

`GET /` runs both, `GET /shares` tells the seconds that each has taken so far.
"""

import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
_taken = {"short": 0.0, "long": 0.0}


def spin(seconds: float) -> float:
    """Computes for so long; gives how long it was."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        pass
    return time.perf_counter() - begun


def short() -> None:
    """A quarter, about."""
    _taken["short"] += spin(0.0001)


def long() -> None:
    """The rest."""
    _taken["long"] += spin(0.0003)


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """ASGI."""
    if scope["type"] != "http":
        return
    body = b"Hello, World!"
    if scope["path"] == "/shares":
        body = json.dumps(_taken).encode()
    else:
        short()
        long()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
