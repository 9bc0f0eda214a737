"""The application of the HTTP/2 tests: every path does what its name says. `/_counts` tells how things ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class GoneError(Exception):
    """The client has left."""


counts: Counter[str] = Counter()
events: dict[str, asyncio.Event] = {}


def event(scope: Message) -> asyncio.Event:
    return events.setdefault(scope["query_string"].decode(), asyncio.Event())


async def start(send: Send, status: int = 200, *headers: tuple[bytes, bytes], trailers: bool = False) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers), "trailers": trailers})


async def body(send: Send, data: bytes, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def scope_as_json(scope: Message, receive: Receive, send: Send) -> None:
    shown = {key: value for key, value in scope.items() if key not in ("state", "app")}
    await start(send, 200, (b"content-type", b"application/json"))
    await body(send, json.dumps(shown, default=lambda value: value.decode("latin-1")).encode())


async def read_all(receive: Receive) -> bytes:
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            counts["disconnected while reading"] += 1
            raise GoneError
        data += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(data)


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    data = await read_all(receive)
    await start(send)
    await body(send, data)


async def stream_echo(scope: Message, receive: Receive, send: Send) -> None:
    await start(send)
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await body(send, message.get("body", b""), more)


async def early(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await send({"type": "http.response.early_hint", "links": [b"</b.js>; rel=preload"]})
    await start(send)
    await body(send, b"later")


async def trailers(scope: Message, receive: Receive, send: Send) -> None:
    await start(send, trailers=True)
    await body(send, b"content")
    await send({"type": "http.response.trailers", "headers": [(b"X-Sum", b"1")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-end", b"2")]})


async def hop_by_hop(scope: Message, receive: Receive, send: Send) -> None:
    names = (b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Transfer-Encoding", b"Upgrade", b"X-Kept")
    await start(send, 200, *((name, b"close") for name in names))
    await body(send, b"plain")


async def empty(scope: Message, receive: Receive, send: Send) -> None:
    await start(send, int(scope["query_string"] or b"200"))
    await body(send, b"")


async def pieces(scope: Message, receive: Receive, send: Send) -> None:
    """Pieces of 32 KiB as long as somebody takes them; counts those that `send()` has taken."""
    await start(send)
    try:
        for _ in range(int(scope["query_string"])):
            await body(send, b"p" * 32768, True)
            counts["pieces"] += 1
        await body(send, b"")
    except OSError:
        counts["send refused"] += 1
    finally:
        counts["pieces over"] += 1


async def large(scope: Message, receive: Receive, send: Send) -> None:
    await start(send)
    await body(send, b"l" * int(scope["query_string"]))


async def file(scope: Message, receive: Receive, send: Send) -> None:
    with tempfile.NamedTemporaryFile() as found:
        found.write(os.urandom(1 << 16) * 40)
        found.flush()
        await start(send)
        if scope["query_string"]:
            await send({"type": "http.response.zerocopysend", "file": found.fileno(), "offset": 5, "count": 1_000_000})
        else:
            await send({"type": "http.response.pathsend", "path": found.name})


async def wait(scope: Message, receive: Receive, send: Send) -> None:
    """Answers after `/go` with the same query, unless the client leaves first."""
    counts["waiting"] += 1
    while (await receive()).get("more_body"):
        pass
    leaving = asyncio.ensure_future(receive())
    going = asyncio.ensure_future(event(scope).wait())
    try:
        await asyncio.wait((leaving, going), return_when=asyncio.FIRST_COMPLETED)
        if going.done():
            await start(send)
            await body(send, b"gone on")
        else:
            counts[f"left {leaving.result()['type']}"] += 1
    finally:
        leaving.cancel()
        going.cancel()
        counts["waited"] += 1


async def read_later(scope: Message, receive: Receive, send: Send) -> None:
    """Takes nothing of the body before `/go` with the same query."""
    counts["not reading"] += 1
    await event(scope).wait()
    data = await read_all(receive)
    await start(send)
    await body(send, str(len(data)).encode())


async def go(scope: Message, receive: Receive, send: Send) -> None:
    event(scope).set()
    await start(send)
    await body(send, b"")


async def fail(scope: Message, receive: Receive, send: Send) -> None:
    raise LookupError("before the start")


async def fail_late(scope: Message, receive: Receive, send: Send) -> None:
    await start(send)
    await body(send, b"begun", True)
    raise LookupError("in the middle")


async def after_the_end(scope: Message, receive: Receive, send: Send) -> None:
    """Goes on when the response is complete."""
    await start(send)
    await body(send, b"complete")
    message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()
    counts[f"after the end {message['type']}"] += 1
    try:
        await body(send, b"more")
    except Exception as error:
        counts[f"after the end {type(error).__name__}"] += 1


async def report(scope: Message, receive: Receive, send: Send) -> None:
    await start(send)
    await body(send, json.dumps(counts).encode())


async def websocket(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    if scope["path"] == "/deny":
        await send({"type": "websocket.http.response.start", "status": 418, "headers": [(b"x-why", b"tea")]})
        await send({"type": "websocket.http.response.body", "body": b"short and stout"})
        return
    if scope["path"] == "/close":
        await send({"type": "websocket.close"})
        return
    protocol = next(iter(scope["subprotocols"]), None)
    await send(
        {
            "type": "websocket.accept",
            "subprotocol": protocol,
            "headers": [(b"x-version", scope["http_version"].encode())],
        }
    )
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            counts[f"websocket {message['code']}"] += 1
            return
        if message.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4000, "reason": "as asked"})
            return
        await send({**message, "type": "websocket.send"})


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        with contextlib.suppress(GoneError):
            await PATHS[scope["path"].removeprefix(scope["root_path"])](scope, receive, send)


PATHS = {
    "/": scope_as_json, "*": scope_as_json, "/echo": echo, "/stream-echo": stream_echo, "/early": early,
    "/trailers": trailers, "/hop-by-hop": hop_by_hop, "/empty": empty, "/pieces": pieces, "/large": large,
    "/file": file, "/wait": wait, "/read-later": read_later, "/go": go, "/fail": fail, "/fail-late": fail_late,
    "/after-the-end": after_the_end, "/_counts": report, "/favicon.ico": empty,
}  # fmt: skip
