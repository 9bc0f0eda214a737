"""A Quart application: streamed requests and responses, background tasks, sessions, WebSockets."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from quart import Quart, Response, abort, jsonify, request, send_file, session, websocket

app = Quart(__name__)
app.secret_key = "only for this test"
finished = asyncio.Event()


@app.before_serving
async def open_harbour() -> None:
    app.config["HARBOUR"] = "open"


@app.after_serving
async def close_harbour() -> None:
    print("harbour closed", flush=True)


@app.get("/")
async def index() -> str:
    return f"harbour {app.config['HARBOUR']} to {request.args.get('boat', 'all')}"


@app.get("/sync")
def sync_view() -> str:
    return request.method


@app.get("/visits")
async def visits() -> dict[str, int]:
    session["visits"] = session.get("visits", 0) + 1
    return {"visits": session["visits"]}


@app.post("/json")
async def echo_json() -> Response:
    return jsonify(await request.get_json())


@app.post("/stream-in")
async def stream_in() -> dict[str, Any]:
    hashed, size = hashlib.sha256(), 0
    async for part in request.body:
        hashed.update(part)
        size += len(part)
    return {"size": size, "sha256": hashed.hexdigest()}


@app.post("/upload")
async def upload() -> dict[str, str]:
    files = await request.files
    return {name: hashlib.sha256(file.read()).hexdigest() for name, file in files.items()}


@app.get("/stream-out")
async def stream_out() -> tuple[AsyncGenerator[bytes, None], int, dict[str, str]]:
    async def parts() -> AsyncGenerator[bytes, None]:
        for number in range(100):
            yield b"%d," % number
            await asyncio.sleep(0)

    return parts(), 200, {"x-kind": "stream"}


@app.get("/file")
async def file() -> Response:
    return await send_file(Path(__file__), conditional=True)


@app.post("/background")
async def background() -> tuple[str, int]:
    async def work() -> None:
        await asyncio.sleep(0)
        finished.set()

    app.add_background_task(work)
    return "accepted", 202


@app.get("/finished")
async def wait_until_finished() -> str:
    async with asyncio.timeout(10):
        await finished.wait()
    finished.clear()
    return "finished"


@app.get("/boom")
async def boom() -> str:
    raise LookupError("on purpose")


@app.get("/forbidden")
async def forbidden() -> str:
    abort(403)


@app.websocket("/ws")
async def echo() -> None:
    while True:
        await websocket.send(await websocket.receive())


@app.websocket("/ws/both")
async def both_ways() -> None:
    """Sends and receives in two tasks at once."""
    heard: list[str] = []

    async def talk() -> None:
        for number in range(20):
            await websocket.send(f"talk {number}")

    async def listen() -> None:
        for _ in range(20):
            heard.append(str(await websocket.receive()))

    await websocket.accept()
    async with asyncio.TaskGroup() as group:
        group.create_task(talk())
        group.create_task(listen())
    await websocket.send(f"heard {len(heard)}")
    await websocket.close(4000, "done")


@app.websocket("/ws/denied")
async def denied() -> None:
    abort(401)
