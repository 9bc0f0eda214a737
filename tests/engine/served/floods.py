"""What keeps an event loop busy: applications that never have to wait for their client."""

from itertools import repeat
from typing import Any

from support.apps import answer, body, read_body, start

SIZES = {"/large": 65_536, "/small": 10}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] == "/talk":
            for piece in repeat(bytes(1000)):
                await send({"type": "websocket.send", "bytes": piece})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    elif size := SIZES.get(scope["path"]):
        await send(start())
        for piece in repeat(bytes(size)):
            await send(body(piece, more=True))
    else:
        await read_body(receive)
        await answer(send)
