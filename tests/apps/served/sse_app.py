"""Server-sent events with sse-starlette: a finite stream, an endless one with pings, and one that resumes."""

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

open_streams = 0
closed = asyncio.Condition()


async def finite(request: Request) -> Response:
    start = int(request.headers.get("last-event-id", "-1")) + 1

    async def events() -> AsyncIterator[ServerSentEvent]:
        for number in range(start, 10):
            yield ServerSentEvent(f"line {number}\nsecond line", event="count", id=str(number))

    return EventSourceResponse(events())


async def endless(request: Request) -> Response:
    async def events() -> AsyncIterator[dict[str, str]]:
        global open_streams
        open_streams += 1
        try:
            yield {"event": "hello", "data": "you are connected"}
            await asyncio.Event().wait()
        finally:
            async with closed:
                open_streams -= 1
                closed.notify_all()

    return EventSourceResponse(events(), ping=1)


async def wait_until_closed(request: Request) -> Response:
    async with asyncio.timeout(10), closed:
        await closed.wait_for(lambda: open_streams == 0)
    return JSONResponse(open_streams)


app = Starlette(
    routes=[
        Route("/finite", finite),
        Route("/endless", endless),
        Route("/wait-until-closed", wait_until_closed),
    ]
)
