"""A Litestar application: controllers, streams, server-sent events, uploads, WebSocket listeners, lifespan."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from litestar import Litestar, MediaType, Request, WebSocket, get, post, websocket, websocket_listener
from litestar.datastructures import State, UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import File, ServerSentEvent, Stream


@dataclass
class Boat:
    name: str
    length: float


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncGenerator[None, None]:
    app.state.harbour = "open"
    yield
    print("harbour closed", flush=True)


@get("/", media_type=MediaType.TEXT)
async def index() -> str:
    return "Hello from Litestar"


@get("/state")
async def state(state: State) -> dict[str, Any]:
    return {"harbour": state.harbour}


@get("/sync", sync_to_thread=True)
def sync_handler(boat: str, length: float = 1.0) -> Boat:
    return Boat(boat, length)


@post("/boats")
async def create(data: Boat) -> Boat:
    return data


@post("/upload")
async def upload(
    data: Annotated[dict[str, UploadFile], Body(media_type=RequestEncodingType.MULTI_PART)],
) -> dict[str, str]:
    return {name: hashlib.sha256(await file.read()).hexdigest() for name, file in data.items()}


@post("/chunks")
async def chunks(request: Request[Any, Any, Any]) -> int:
    return sum([len(part) async for part in request.stream()])


@get("/stream")
async def stream() -> Stream:
    async def parts() -> AsyncGenerator[bytes, None]:
        for number in range(100):
            yield b"%d," % number
            await asyncio.sleep(0)

    return Stream(parts())


@get("/events")
async def events() -> ServerSentEvent:
    async def ticks() -> AsyncGenerator[dict[str, Any], None]:
        for number in range(3):
            yield {"data": f"tick {number}", "id": str(number), "event": "tick"}

    return ServerSentEvent(ticks())


@get("/file")
async def file() -> File:
    return File(Path(__file__), filename="source.py")


@get("/boom")
async def boom() -> None:
    raise LookupError("on purpose")


@websocket_listener("/ws/listener")
async def listener(data: dict[str, Any]) -> dict[str, Any]:
    return {"heard": data}


@websocket("/ws/raw")
async def raw(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    for _ in range(3):
        await socket.send_bytes((await socket.receive_bytes()).upper())
    await socket.close(4000, "three is enough")


app = Litestar(
    [index, state, sync_handler, create, upload, chunks, stream, events, file, boom, listener, raw], lifespan=[lifespan]
)
