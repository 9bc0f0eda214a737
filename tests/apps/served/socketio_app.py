"""python-socketio's ASGI server: namespaces, rooms, acknowledgements, binary data, sessions."""

# mypy: disable-error-code="import-untyped, untyped-decorator"
from typing import Any

import socketio

# A long poll that is pending when its client says goodbye is answered only after interval + timeout.
server = socketio.AsyncServer(async_mode="asgi", ping_interval=1, ping_timeout=2)


@server.event
async def connect(sid: str, environ: dict[str, Any], auth: dict[str, str] | None) -> None:
    if auth and auth.get("name") == "mallory":
        raise socketio.exceptions.ConnectionRefusedError("not you")
    await server.save_session(sid, {"name": (auth or {}).get("name", "nobody")})
    assert environ["asgi.scope"]["type"] in ("http", "websocket")


@server.event
async def disconnect(sid: str, reason: str) -> None:
    session = await server.get_session(sid)
    print(f"socket.io: {session['name']} left", flush=True)


@server.event
async def echo(sid: str, data: Any) -> Any:
    return data


@server.event
async def enter(sid: str, room: str) -> str:
    await server.enter_room(sid, room)
    return room


@server.event
async def say(sid: str, data: dict[str, str]) -> None:
    session = await server.get_session(sid)
    await server.emit("said", {"name": session["name"], "text": data["text"]}, room=data["room"], skip_sid=sid)


@server.on("flood")
async def flood(sid: str, count: int) -> None:
    for number in range(count):
        await server.emit("drop", number, to=sid)


async def other(scope: Any, receive: Any, send: Any) -> None:
    """What is not for Socket.IO."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"other"})


app = socketio.ASGIApp(server, other_asgi_app=other)
