"""What lasts until somebody ends it: WebSockets, event streams of every make, and a download."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


async def events(request: Request) -> Response:
    """As sse-starlette makes them: cancelled when `http.disconnect` comes."""

    async def each() -> AsyncIterator[dict[str, str]]:
        yield {"data": "begun"}
        await asyncio.Event().wait()

    return EventSourceResponse(each())


async def asking(request: Request) -> Response:
    """Looks whether the client is there, and says good-bye."""

    async def each() -> AsyncIterator[str]:
        yield "data: begun\n\n"
        while not await request.is_disconnected():  # noqa: ASYNC110 - as applications do
            await asyncio.sleep(0.02)
        yield "data: ended\n\n"

    return StreamingResponse(each(), media_type="text/event-stream")


def endless(media_type: str) -> Response:
    """Nobody here ever asks whether the client is there; Starlette notices when sending raises."""

    async def each() -> AsyncIterator[str]:
        while True:
            yield "data: begun\n\n"
            await asyncio.sleep(0.02)

    return StreamingResponse(each(), media_type=media_type)


async def ticking(request: Request) -> Response:
    return endless("text/event-stream")


async def download(request: Request) -> Response:
    return endless("text/plain")


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """Neither listens nor sends."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"data: begun\n\n", "more_body": True})
    await asyncio.Event().wait()


streams = (events, asking, ticking, download)
routes: list[BaseRoute] = [Route(f"/{stream.__name__}", stream, methods=["GET", "POST"]) for stream in streams]
starlette = Starlette(routes=[*routes, WebSocketRoute("/echo", echo)])


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await (deaf if scope["type"] == "http" and scope["path"] == "/deaf" else starlette)(scope, receive, send)
