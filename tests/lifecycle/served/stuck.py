"""An application that gets stuck, in as many ways as there are. Which one at the start says the variable STUCK_AT."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

eaten: list[bytes] = []
WHERE = os.environ.get("STUCK_AT", "")


def deadlock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


if WHERE == "import":
    deadlock()


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    match WHERE:
        case "exit":
            sys.exit(5)
        case "waiting":
            await asyncio.Event().wait()
        case "blocking":
            deadlock()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    _, route, *rest = scope["path"].split("/")
    match route:
        case "spin":
            while True:
                pass
        case "sleep":
            await asyncio.sleep(0)
            time.sleep(60)  # noqa: ASYNC251 - what must not be done
        case "compute":
            sum(range(10**12))
        case "native":
            ctypes.PyDLL(None).sleep(60)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "segfault":
            ctypes.string_at(0)
        case "eat":
            eaten.append(b"x" * (int(rest[0]) << 20))
        case "wait":
            await asyncio.sleep(float(rest[0]))
    text = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})
