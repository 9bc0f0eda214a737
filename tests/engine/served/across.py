"""One request's application sends another request's response: what a hub does for its subscribers."""

import os
from typing import Any

from support.apps import answer, body, start

subscribers: list[Any] = []
ended = 0


async def app(scope: Any, receive: Any, send: Any) -> None:
    global ended
    match scope["path"]:
        case "/subscribe":
            await send(start())
            await send(body(b"subscribed", more=True))
            subscribers.append(send)
            while (await receive())["type"] != "http.disconnect":
                pass
            ended += 1
        case "/publish":
            # More than the engine keeps for a connection: it is sent at once.
            await subscribers[0](body(bytes(1 << 20), more=True))
            await answer(send)
        case "/block":
            with open(os.environ["HELD"]) as held:  # noqa: ASYNC230 - it blocks, as applications do
                held.read()
            await answer(send)
        case "/ended":
            await answer(send, str(ended).encode())
