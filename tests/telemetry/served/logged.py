"""Requests whose log lines are looked at."""

import asyncio
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")
    if scope["type"] == "websocket":
        await websocket(scope, receive, send)
        return
    path = scope["path"]
    if path == "/raise":
        raise ValueError("raised on purpose")
    if path == "/sleep":
        await asyncio.sleep(0.1)
    if path == "/until-disconnect":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if path == "/post":
        while (await receive())["more_body"]:
            pass
    body, fields = b"Hello, world!", []
    if path == "/state":
        body = scope.get("state", {}).get("request_id", "none").encode()
    if path == "/own-id":
        fields = [(b"X-Request-ID", b"the-applications")]
    status = int(path[8:]) if path.startswith("/status/") else 200
    await send({"type": "http.response.start", "status": status, "headers": fields})
    if path == "/stream":
        while True:
            await send({"type": "http.response.body", "body": b"more", "more_body": True})
            await asyncio.sleep(0.01)
    if path == "/broken":
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("raised half-way on purpose")
    await send({"type": "http.response.body", "body": body})
    if path == "/background":
        raise ValueError("raised in the background on purpose")


async def websocket(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if scope["path"] == "/deny":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})
