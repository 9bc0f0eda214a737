"""Hangs where HANG_AT says: import, startup, stubborn-startup, shutdown. By path: /wait, /stubborn, /block, /thread."""

import asyncio
import os
import sys
import time
from typing import Never

from swell.worker.asgi import Receive, Scope, Send

WHERE = os.environ.get("HANG_AT", "")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if WHERE == "import":
    say("importing")
    time.sleep(60)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    try:
        match scope["path"]:
            case "/wait":
                await receive()
                say("waiting")
                await asyncio.sleep(60)
            case "/finish":
                await receive()
                say("finishing")
                while (await receive())["type"] != "http.disconnect":
                    pass
            case "/short":
                say("short")
                await asyncio.sleep(1)
            case "/stubborn":
                say("stubborn")
                await stubborn()
            case "/block":
                say("blocking")
                time.sleep(60)  # noqa: ASYNC251 - that is the point
            case "/thread":
                say("in a thread")
                await asyncio.to_thread(time.sleep, 60)
    except asyncio.CancelledError:
        say("cancelled")
        raise
    await send({"type": "http.response.body", "body": b" and ended"})


async def stubborn() -> Never:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            say("swallowed")


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    if WHERE == "startup":
        say("starting")
        try:
            await asyncio.sleep(60)
        finally:
            say("startup cleaned up")
    if WHERE == "stubborn-startup":
        say("starting")
        await stubborn()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    say("shutting down")
    if WHERE == "shutdown":
        await asyncio.sleep(60)
    await send({"type": "lifespan.shutdown.complete"})
    say("shut down")
