"""Plain ASGI that tells its clients what arrived: for tests of client programs, not of frameworks."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def http(scope: Message, receive: Receive, send: Send) -> None:
    hashed, size, events = hashlib.sha256(), 0, 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        hashed.update(message.get("body", b""))
        size += len(message.get("body", b""))
        events += 1
        if not message.get("more_body"):
            break
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    report = {"method": scope["method"], "path": scope["path"], "http_version": scope["http_version"]}
    report |= {"size": size, "sha256": hashed.hexdigest(), "headers": headers, "events": events}
    report["client_port"] = scope["client"][1]
    body = json.dumps(report).encode()
    if scope["path"] == "/large":
        body = bytes(range(256)) * 40_000
    if scope["path"] == "/slow":
        await asyncio.sleep(0.2)
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    if scope["path"] == "/stream":
        await send(start)
        for first in range(0, len(body), 16):
            await send({"type": "http.response.body", "body": body[first : first + 16], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def websocket(scope: Message, receive: Receive, send: Send) -> None:
    await receive()
    offered = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": offered[-1] if offered else None})
    while (message := await receive())["type"] == "websocket.receive":
        if (text := message.get("text")) is not None:
            if text.startswith("close "):
                await send({"type": "websocket.close", "code": int(text.split()[1]), "reason": "asked to"})
                return
            if text.startswith("count "):
                for number in range(int(text.split()[1])):
                    await send({"type": "websocket.send", "text": str(number)})
                continue
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
    print(f"closed with {message['code']} {message.get('reason') or ''}", flush=True)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await http(scope, receive, send)
