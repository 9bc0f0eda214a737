"""The raw ASGI application that every Python server runs in the benchmark (ASGI 3.0, HTTP and WebSocket).

One path per scenario, no framework, the same bytes whichever server asks. It knows nothing of servers; `rig.scenarios`
names its paths, `rig.servers` starts it as ``bench_app:app``.
"""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HELLO = b"Hello, World!"
TEN_KILOBYTES = b"x" * 10_240
STREAM_CHUNK = b"x" * 1024
STREAM_CHUNKS = 100
LATER_SECONDS = 0.001

TEXT = (b"content-type", b"text/plain")
HELLO_HEADERS = [TEXT, (b"content-length", str(len(HELLO)).encode())]
TEN_KILOBYTES_HEADERS = [TEXT, (b"content-length", str(len(TEN_KILOBYTES)).encode())]

rooms: set[Send] = set()


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HELLO_HEADERS})
    await send({"type": "http.response.body", "body": HELLO})


async def ten_kilobytes(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": TEN_KILOBYTES_HEADERS})
    await send({"type": "http.response.body", "body": TEN_KILOBYTES})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the request's body."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return
    body: bytes = message["body"]
    if message.get("more_body"):
        pieces = [body]
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            pieces.append(message["body"])
        body = b"".join(pieces)
    headers = [TEXT, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def suspend(scope: Scope, receive: Receive, send: Send) -> None:
    """Give the loop one turn before answering."""
    await asyncio.sleep(0)
    await hello(scope, receive, send)


async def later(scope: Scope, receive: Receive, send: Send) -> None:
    """Wait for a future that a timer completes."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_later(LATER_SECONDS, future.set_result, None)
    await future
    await hello(scope, receive, send)


async def burn(scope: Scope, receive: Receive, send: Send) -> None:
    """Compute for some 0.3 ms, so that the client is no part of what limits several workers."""
    sum(number * number for number in range(6000))
    await hello(scope, receive, send)


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the body in pieces without a length."""
    await send({"type": "http.response.start", "status": 200, "headers": [TEXT]})
    for _ in range(STREAM_CHUNKS):
        await send({"type": "http.response.body", "body": STREAM_CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def blocks(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the number of memory blocks the interpreter holds after a collection: the soak watches it."""
    gc.collect()
    body = str(sys.getallocatedblocks()).encode()
    headers = [TEXT, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def websocket_echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": message["text"]})


async def websocket_broadcast(scope: Scope, receive: Receive, send: Send) -> None:
    """Send each message to everyone; who is accepted is in the room already."""
    await receive()
    rooms.add(send)
    try:
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            out = {"type": "websocket.send", "text": message["text"]}
            for send_to_member in list(rooms):
                await send_to_member(out)
    finally:
        rooms.discard(send)


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return


HTTP_ROUTES = {
    "/": hello,
    "/10k": ten_kilobytes,
    "/echo": echo,
    "/suspend": suspend,
    "/later": later,
    "/stream": stream,
    "/blocks": blocks,
    "/burn": burn,
}
WEBSOCKET_ROUTES = {"/ws/echo": websocket_echo, "/ws/broadcast": websocket_broadcast}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The application."""
    kind = scope["type"]
    if kind == "http":
        await HTTP_ROUTES.get(scope["path"], not_found)(scope, receive, send)
    elif kind == "websocket":
        await WEBSOCKET_ROUTES[scope["path"]](scope, receive, send)
    else:
        await lifespan(scope, receive, send)
