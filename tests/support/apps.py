"""Small pieces that ASGI applications under test are made of."""

from typing import Any

from support.inprocess import Message, Receive, Send


def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answer(send: Send, data: bytes = b"ok", status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    await send(start(status, *headers))
    await send(body(data))


async def read_body(receive: Receive) -> bytes:
    """The whole request body; fails on a disconnect."""
    whole = bytearray()
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        whole += message["body"]
        if not message["more_body"]:
            return bytes(whole)
