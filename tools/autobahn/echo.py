"""What Autobahn talks to: an ASGI application that sends every WebSocket message back as it came."""

from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
