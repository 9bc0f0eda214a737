"""A Falcon ASGI application: media, streams, server-sent events, WebSockets, lifespan hooks."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import falcon
import falcon.asgi
from falcon.asgi import Request, Response, SSEvent, WebSocket


class Lifecycle:
    """Middleware: Falcon hands it the lifespan events."""

    started = False

    async def process_startup(self, scope: dict[str, Any], event: dict[str, Any]) -> None:
        self.started = True

    async def process_shutdown(self, scope: dict[str, Any], event: dict[str, Any]) -> None:
        print("falcon has landed", flush=True)

    async def process_response(self, req: Request, resp: Response, resource: object, succeeded: bool) -> None:
        resp.set_header("x-started", str(self.started))


class Index:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.text = f"Hello, {req.get_param('name', default='world')}"

    async def on_post(self, req: Request, resp: Response) -> None:
        resp.media = {"got": await req.get_media()}
        resp.status = falcon.HTTP_201


class Digest:
    async def on_post(self, req: Request, resp: Response) -> None:
        hashed, size = hashlib.sha256(), 0
        async for part in req.stream:
            hashed.update(part)
            size += len(part)
        resp.media = {"size": size, "sha256": hashed.hexdigest(), "length": req.content_length}


class Stream:
    async def on_get(self, req: Request, resp: Response) -> None:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(100):
                yield b"%d," % number
                await asyncio.sleep(0)

        resp.stream = parts()


class Events:
    async def on_get(self, req: Request, resp: Response) -> None:
        async def ticks() -> AsyncIterator[SSEvent | None]:
            for number in range(3):
                yield SSEvent(json={"tick": number}, event="tick", event_id=str(number))
            yield SSEvent(comment="the end")

        resp.sse = ticks()


class Blocking:
    async def on_get(self, req: Request, resp: Response) -> None:
        loop = asyncio.get_running_loop()
        resp.media = await loop.run_in_executor(None, sum, range(1000))


class Echo:
    async def on_websocket(self, req: Request, ws: WebSocket) -> None:
        if req.get_param("token") != "secret":
            raise falcon.HTTPForbidden
        await ws.accept()
        try:
            while True:
                await ws.send_text((await ws.receive_text())[::-1])
        except falcon.WebSocketDisconnected as gone:
            print(f"falcon websocket gone {gone.code}", flush=True)


class Boom:
    async def on_get(self, req: Request, resp: Response) -> None:
        raise LookupError("on purpose")


app: falcon.asgi.App[Request, Response] = falcon.asgi.App(middleware=[Lifecycle()])
app.add_route("/", Index())
app.add_route("/digest", Digest())
app.add_route("/stream", Stream())
app.add_route("/events", Events())
app.add_route("/blocking", Blocking())
app.add_route("/ws", Echo())
app.add_route("/boom", Boom())
