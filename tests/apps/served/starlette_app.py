"""A Starlette application that uses the server in as many ways as Starlette knows."""

import asyncio
import contextlib
import contextvars
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypedDict

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

request_mark: contextvars.ContextVar[str] = contextvars.ContextVar("request_mark", default="clean")
lifespan_mark: contextvars.ContextVar[str] = contextvars.ContextVar("lifespan_mark", default="unset")
gone = asyncio.Event()


class State(TypedDict):
    started: str
    seen: list[str]


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[State]:
    lifespan_mark.set("set at startup")
    yield {"started": "yes", "seen": []}
    print("lifespan is over", flush=True)


class NotedStream(StreamingResponse):
    """Notes its own end: a generator that is cancelled at its `yield` ends only when it is collected."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            gone.set()


async def plain(request: Request) -> Response:
    return PlainTextResponse("Hello, world!")


async def scope(request: Request) -> Response:
    names = ("type", "http_version", "method", "scheme", "path", "root_path")
    shown = {name: request.scope[name] for name in names}
    shown["raw_path"] = request.scope["raw_path"].decode("ascii")
    shown["query_string"] = request.scope["query_string"].decode("ascii")
    shown["client"], shown["server"] = request.scope["client"], request.scope["server"]
    shown["asgi"] = request.scope["asgi"]
    shown["x"] = request.headers.getlist("x")
    shown["lower"] = all(name == name.lower() for name, _ in request.scope["headers"])
    return JSONResponse(shown)


async def state(request: Request) -> Response:
    request.state.seen.append(request.url.query)  # the list is shared, the name below is this request's own
    fresh = not hasattr(request.state, "mine")
    request.state.mine = True
    return JSONResponse({"started": request.state.started, "seen": request.state.seen, "fresh": fresh})


async def context(request: Request) -> Response:
    before = request_mark.get()
    request_mark.set("dirty")
    return JSONResponse({"before": before, "lifespan": lifespan_mark.get()})


async def digest(request: Request) -> Response:
    hashed, size = hashlib.sha256(), 0
    async for part in request.stream():
        hashed.update(part)
        size += len(part)
    return JSONResponse({"size": size, "sha256": hashed.hexdigest()})


async def form(request: Request) -> Response:
    async with request.form() as fields:
        return JSONResponse({name: str(value) for name, value in fields.multi_items()})


async def stream(request: Request) -> Response:
    count = int(request.query_params["count"])

    async def lines() -> AsyncIterator[str]:
        for number in range(count):
            yield f"line {number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(lines(), media_type="text/plain")


async def endless(request: Request) -> Response:
    async def ticks() -> AsyncIterator[bytes]:
        while True:
            yield b"tick\n"
            await asyncio.sleep(0.01)

    return NotedStream(ticks())


async def wait_until_gone(request: Request) -> Response:
    async with asyncio.timeout(10):
        await gone.wait()
    gone.clear()
    return PlainTextResponse("it is over")


async def wait_for_disconnect(request: Request) -> Response:
    while not await request.is_disconnected():  # noqa: ASYNC110  (Starlette can only be asked)
        await asyncio.sleep(0.005)
    gone.set()
    return PlainTextResponse("nobody reads this")


async def abandoned_upload(request: Request) -> Response:
    try:
        await request.body()
    except ClientDisconnect:
        gone.set()
        raise
    return PlainTextResponse("complete")


async def cookies(request: Request) -> Response:
    response = JSONResponse(request.cookies)
    response.set_cookie("one", "1")
    response.set_cookie("two", "2", httponly=True)
    return response


async def background(request: Request) -> Response:
    async def later() -> None:
        await asyncio.sleep(0)
        gone.set()

    return PlainTextResponse("answered first", background=BackgroundTask(later))


async def redirect(request: Request) -> Response:
    return RedirectResponse("/plain")


async def boom(request: Request) -> Response:
    raise LookupError("on purpose")


async def late_boom(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a first part"
        raise LookupError("on purpose, after the head")

    return StreamingResponse(parts())


async def teapot(request: Request) -> Response:
    raise HTTPException(418, "short and stout", {"x-pot": "yes"})


async def no_content(request: Request) -> Response:
    return Response(status_code=int(request.query_params["status"]))


class Echo(WebSocketEndpoint):
    encoding = "text"

    async def on_connect(self, websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="second", headers=[(b"x-accepted", b"yes")])

    async def on_receive(self, websocket: WebSocket, data: str) -> None:
        await websocket.send_text(data)


async def messages(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            message = await websocket.receive_json()
            if message == "close":
                await websocket.close(4321, "as you wish")
                return
            await websocket.send_json({"got": message, "from": websocket.query_params.get("name")})
    except WebSocketDisconnect as closed:
        print(f"websocket closed with {closed.code} {closed.reason!r}", flush=True)


async def denied(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("members only", 401, {"www-authenticate": "Basic"}))


HERE = Path(__file__)
app = Starlette(
    routes=[
        Route("/plain", plain),
        Route("/scope", scope),
        Route("/scope/{rest:path}", scope),
        Route("/state", state),
        Route("/context", context),
        Route("/digest", digest, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
        Route("/stream", stream),
        Route("/endless", endless),
        Route("/wait-until-gone", wait_until_gone),
        Route("/wait-for-disconnect", wait_for_disconnect),
        Route("/abandoned-upload", abandoned_upload, methods=["POST"]),
        Route("/cookies", cookies),
        Route("/background", background),
        Route("/redirect", redirect),
        Route("/boom", boom),
        Route("/late-boom", late_boom),
        Route("/teapot", teapot),
        Route("/no-content", no_content),
        Route("/file", lambda request: FileResponse(HERE)),
        Mount("/static", StaticFiles(directory=HERE.parent)),
        Mount("/zipped", Starlette(routes=[Route("/stream", stream)], middleware=[Middleware(GZipMiddleware)])),
        WebSocketRoute("/ws/echo", Echo),
        WebSocketRoute("/ws/messages", messages),
        WebSocketRoute("/ws/denied", denied),
    ],
    lifespan=lifespan,
)
