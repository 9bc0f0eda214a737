"""The application under the steady load, and the ways an application goes wrong. Plain ASGI, standard library only.

Every answer names the process and the generation of the code: tests copy this file, change the number and reload.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

GENERATION = 1
PAUSE = 0.03  # seconds between two chunks of a stream

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

eaten: list[bytearray] = []


def signature(name: str) -> str:
    return f"{name} {os.getpid()} {GENERATION}"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await echo(receive, send)
    else:
        _, route, *rest = scope["path"].split("/")
        await ROUTES[route](rest[0] if rest else "", scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        print(f"lifespan {message['type'].rpartition('.')[2]} in {os.getpid()}", flush=True)
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": signature(message["text"])})


async def respond(send: Send, text: str) -> None:
    length = (b"content-length", str(len(text)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": text.encode()})


async def answer(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, signature(name))


async def stream(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": signature(name).encode(), "more_body": True})
    for number in range(int(scope["query_string"])):
        await asyncio.sleep(PAUSE)
        await send({"type": "http.response.body", "body": f" {name} {number}".encode(), "more_body": True})
    await send({"type": "http.response.body"})


async def upload(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    length = checksum = 0
    more = True
    while more:
        message = await receive()
        body = message.get("body", b"")
        length, checksum, more = length + len(body), zlib.crc32(body, checksum), message.get("more_body", False)
    await respond(send, f"{signature(name)} {length} {checksum}")


async def wait(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Waits as a good application does: the loop goes on."""
    await asyncio.sleep(float(name))
    await respond(send, signature(name))


async def pool(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Blocks a thread of the loop's pool."""
    await asyncio.to_thread(time.sleep, float(name))
    await respond(send, signature(name))


async def spin(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    while True:
        pass


async def sleep(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Blocks the loop in a system call; the GIL is free."""
    time.sleep(float(name))  # noqa: ASYNC251 - what must not be done
    await respond(send, signature(name))


async def burn(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Computes for so many seconds of CPU time, in the loop."""
    end = time.thread_time() + float(name)
    while time.thread_time() < end:
        pass
    await respond(send, signature(name))


async def gil(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Blocks the whole interpreter: a call into C that keeps the GIL."""
    ctypes.PyDLL(None).usleep(int(float(name) * 1e6))
    await respond(send, signature(name))


async def crash(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
    await asyncio.sleep(60)


async def leave(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Ends the process as if all were well."""
    os._exit(int(name))


async def eat(name: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Keeps so many MiB, every page of them touched."""
    eaten.append(bytearray(b"x" * (int(name) << 20)))
    await respond(send, signature(name))


ROUTES: dict[str, Callable[[str, Scope, Receive, Send], Awaitable[None]]] = {
    handler.__name__: handler
    for handler in (answer, stream, upload, wait, pool, spin, sleep, burn, gil, crash, leave, eat)
}
