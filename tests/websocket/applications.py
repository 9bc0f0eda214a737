"""ASGI applications for the tests: each is a function of (scope, receive, send)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from support.inprocess import Message, Receive, Scope, Send

Handler = Callable[["Socket"], Awaitable[None]]


class Socket:
    """The application's side of one WebSocket."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send

    async def accept(self, **keys: Any) -> None:
        assert await self.receive() == {"type": "websocket.connect"}
        await self.send({"type": "websocket.accept", **keys})

    async def next(self) -> str | bytes | None:
        """The next message; None after the end."""
        message = await self.receive()
        if message["type"] == "websocket.disconnect":
            return None
        assert message["type"] == "websocket.receive", message
        assert len(message) == 2, message
        found: str | bytes = message["text"] if "text" in message else message["bytes"]
        return found

    async def put(self, data: str | bytes) -> None:
        await self.send({"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data})

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.send({"type": "websocket.close", "code": code, "reason": reason})


class Application:
    """Runs `handler` for every WebSocket and answers HTTP requests; remembers what its WebSockets ended with."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.results: asyncio.Queue[Any] = asyncio.Queue()
        self.scopes: list[Scope] = []
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"http"})
            return
        assert scope["type"] == "websocket"
        self.scopes.append(scope)
        self.running += 1
        try:
            await self.handler(Socket(scope, receive, send))
        finally:
            self.running -= 1

    def note(self, result: Any) -> None:
        self.results.put_nowait(result)

    async def noted(self) -> Any:
        """What the application noted next."""
        async with asyncio.timeout(15):
            return await self.results.get()


async def echo(socket: Socket) -> None:
    await socket.accept()
    while (data := await socket.next()) is not None:
        await socket.put(data)


def disconnect(code: int, reason: str = "") -> Message:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}
