"""A FastAPI application: thread-pool endpoints, middleware, uploads, streams, files, background tasks, WebSockets."""

import asyncio
import contextvars
import hashlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    Query,
    Request,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
)
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import Receive, Scope, Send

current_user: contextvars.ContextVar[str] = contextvars.ContextVar("current_user", default="nobody")
done: list[str] = []
done_changed = threading.Condition()
meeting = threading.Barrier(8)


def finish(what: str) -> None:
    with done_changed:
        done.append(what)
        done_changed.notify_all()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"answer": 42}


app = FastAPI(lifespan=lifespan)


async def stamp(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    current_user.set(request.headers.get("x-user", "nobody"))
    response = await call_next(request)
    response.headers["x-stamp"] = "seen"
    return response


app.add_middleware(BaseHTTPMiddleware, dispatch=stamp)


class NotedStream(StreamingResponse):
    """Notes its own end: a generator that is cancelled at its `yield` ends only when it is collected."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            finish("stream ended")


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []


def resource() -> Iterator[str]:
    try:
        yield "open"
    finally:
        finish("resource closed")


@app.get("/sync")
def sync_endpoint() -> dict[str, Any]:
    return {"main_thread": threading.current_thread() is threading.main_thread(), "user": current_user.get()}


@app.get("/meet")
def meet() -> dict[str, int]:
    """Answers only when eight requests are in the thread pool together."""
    return {"place": meeting.wait(10)}


@app.get("/async")
async def async_endpoint(request: Request, x_user: Annotated[str, Header()] = "") -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"answer": request.state.answer, "header": x_user, "context": current_user.get()}


@app.post("/items", status_code=201)
async def create(item: Item, notify: Annotated[bool, Query()] = False) -> dict[str, Any]:
    return {"item": item, "notify": notify}


@app.get("/resource")
def use_resource(opened: Annotated[str, Depends(resource)]) -> str:
    return opened


@app.get("/stream")
def stream() -> StreamingResponse:
    def parts() -> Iterator[bytes]:
        for number in range(50):
            yield b"%d;" % number

    return StreamingResponse(parts())


@app.get("/astream")
async def astream() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"more;" * 1000
            await asyncio.sleep(0)

    return NotedStream(parts())


@app.get("/file")
def file() -> FileResponse:
    return FileResponse(Path(__file__), filename="source é.py")


@app.post("/upload")
async def upload(files: Annotated[list[UploadFile], File()], note: Annotated[str, Form()]) -> dict[str, Any]:
    digests = [hashlib.sha256(await one.read()).hexdigest() for one in files]
    return {"note": note, "names": [one.filename for one in files], "digests": digests}


@app.post("/raw")
async def raw(request: Request) -> int:
    return len(await request.body())


@app.post("/background")
def background(tasks: BackgroundTasks, what: str) -> str:
    tasks.add_task(finish, what)
    return "accepted"


@app.get("/done")
def wait_until_done(what: str) -> bool:
    with done_changed:
        found = done_changed.wait_for(lambda: what in done, 10)
        if found:
            done.remove(what)
        return found


@app.get("/boom")
def boom() -> None:
    raise ArithmeticError("on purpose")


async def member(token: str = "") -> str:
    if token != "secret":
        raise WebSocketException(1008, "who are you?")
    return "member"


@app.websocket("/ws")
async def websocket(websocket: WebSocket, who: Annotated[str, Depends(member)]) -> None:
    await websocket.accept()
    try:
        async for text in websocket.iter_text():
            await websocket.send_text(f"{who}: {text}")
        finish("websocket ended")
    except WebSocketDisconnect:
        finish("websocket failed")


@app.websocket("/ws/bytes")
async def websocket_bytes(websocket: WebSocket) -> None:
    await websocket.accept()
    async for data in websocket.iter_bytes():
        await websocket.send_bytes(data[::-1])
