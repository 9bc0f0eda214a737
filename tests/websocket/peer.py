"""A WebSocket client that hides nothing: frames out as given, frames in one by one. RFC 6455 §5.

It knows the layout of a frame and what a server must never send (masks, reserved bits, long control frames); it
answers nothing by itself. Called by the tests that need an odd, rude or silent peer; others use `websockets`.
"""

import asyncio
import base64
import hashlib
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum

from support.client import Connection, Fields, Response
from support.inprocess import InProcess
from support.streams import Http2Connection

KEY = b"c3dlbGwgdGVzdHMga2V5IQ=="
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # RFC 6455 §4.2.2


class Op(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(frozen=True)
class Frame:
    op: Op
    data: bytes = b""
    fin: bool = True
    compressed: bool = False


def encode(op: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True) -> bytes:
    """One frame from a client; `rsv` 4 is RSV1, the mark of compression."""
    head = bytes([fin << 7 | rsv << 4 | op])
    masked = mask << 7
    if len(data) < 126:
        head += bytes([masked | len(data)])
    elif len(data) < 1 << 16:
        head += bytes([masked | 126]) + struct.pack("!H", len(data))
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", len(data))
    if not mask:
        return head + data
    key = os.urandom(4)
    stream = key * (len(data) // 4 + 1)
    plain = int.from_bytes(data, "big") ^ int.from_bytes(stream[: len(data)], "big")
    return head + key + plain.to_bytes(len(data), "big")


def close_data(code: int, reason: bytes = b"") -> bytes:
    return struct.pack("!H", code) + reason


def upgrade(
    target: str = "/", *fields: tuple[bytes, bytes], without: tuple[bytes, ...] = (), method: bytes = b"GET"
) -> bytes:
    """The bytes of a handshake; a field given replaces the ordinary one."""
    ordinary = {
        b"host": b"test",
        b"upgrade": b"websocket",
        b"connection": b"Upgrade",
        b"sec-websocket-key": KEY,
        b"sec-websocket-version": b"13",
    }
    replaced = {name for name, _ in fields} | set(without)
    lines = [method + b" " + target.encode() + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in ordinary.items() if name not in replaced]
    lines += [name + b": " + value for name, value in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class Peer:
    """A connection with an open WebSocket, or one that tries to get it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def write(self, *pieces: bytes) -> None:
        await self.connection.send(*pieces)

    async def offer(
        self, target: str = "/", *fields: tuple[bytes, bytes], without: tuple[bytes, ...] = (), behind: bytes = b""
    ) -> None:
        """Asks for the WebSocket, and sends what is `behind` without waiting for the answer."""
        if not isinstance(self.connection, Http2Connection):
            return await self.write(upgrade(target, *fields, without=without) + behind)
        replaced = {name for name, _ in fields} | set(without)
        version = [] if b"sec-websocket-version" in replaced else [(b"sec-websocket-version", b"13")]
        await self.connection.websocket(target, [*version, *fields], behind)
        return None

    async def handshake(self, target: str = "/", *fields: tuple[bytes, bytes]) -> Response:
        """Opens the WebSocket; fails when the server does not accept it."""
        await self.offer(target, *fields)
        return await self.accepted()

    async def accepted(self) -> Response:
        head = await self.connection.head()
        assert head.field(b"content-length") is None
        if isinstance(self.connection, Http2Connection):  # RFC 8441 §5
            assert head.status == 200, head
            assert not {b"sec-websocket-accept", b"upgrade", b"connection"} & {name for name, _ in head.fields}
            return head
        assert head.status == 101, head
        assert head.field(b"sec-websocket-accept") == ACCEPT
        assert (head.field(b"upgrade") or b"").lower() == b"websocket"
        assert (head.field(b"connection") or b"").lower() == b"upgrade"
        assert not head.streamed
        return head

    async def refused(self, status: int) -> Response:
        """The answer is no, and the connection, or the stream, ends with it."""
        response = await self.connection.response()
        assert response.status == status, response
        assert response.field(b"sec-websocket-accept") is None
        await self.connection.over(response)
        return response

    async def send(self, op: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        await self.write(encode(op, data, fin=fin, rsv=rsv))

    async def text(self, data: str) -> None:
        await self.send(Op.TEXT, data.encode())

    async def close(self, code: int = 1000, reason: bytes = b"") -> None:
        await self.send(Op.CLOSE, close_data(code, reason))

    async def frame(self) -> Frame:
        """The next frame from the server."""
        read = self.connection.readexactly
        first, second = await read(2)
        assert not second & 0x80, "a server does not mask (RFC 6455 §5.1)"
        assert not first & 0x30, "RSV2 and RSV3 have no meaning"
        length = second & 0x7F
        op, fin = Op(first & 0x0F), bool(first & 0x80)
        if op >= Op.CLOSE:
            assert fin, "control frames are whole (RFC 6455 §5.5)"
            assert length <= 125, "control frames are short (RFC 6455 §5.5)"
        if length == 126:
            (length,) = struct.unpack("!H", await read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await read(8))
        return Frame(op, await read(length), fin, bool(first & 0x40))

    async def message(self) -> str | bytes:
        """The next frame, which must be a whole uncompressed message."""
        frame = await self.frame()
        assert frame.op in (Op.TEXT, Op.BINARY), frame
        assert frame.fin, frame
        assert not frame.compressed, frame
        return frame.data.decode() if frame.op is Op.TEXT else frame.data

    async def closed(self) -> tuple[int, str]:
        """The server's close frame, which must come next: code (1005 without one) and reason."""
        frame = await self.frame()
        assert frame.op is Op.CLOSE, frame
        if not frame.data:
            return 1005, ""
        return struct.unpack("!H", frame.data[:2])[0], frame.data[2:].decode()

    async def ended(self) -> None:
        """The server ends the TCP connection, or the stream, with nothing further on it."""
        assert await self.connection.rest() == b""

    def reset(self) -> None:
        self.connection.reset()


@asynccontextmanager
async def peer(server: InProcess) -> AsyncIterator[Peer]:
    """A connection without a handshake yet."""
    async with server.connect() as connection:
        yield Peer(connection)


@asynccontextmanager
async def opened(server: InProcess, target: str = "/", *fields: tuple[bytes, bytes]) -> AsyncIterator[Peer]:
    """An open WebSocket, without compression unless asked for."""
    async with peer(server) as found:
        await found.handshake(target, *fields)
        yield found


async def wait(event: asyncio.Event) -> None:
    async with asyncio.timeout(15):
        await event.wait()


def headers(response: Response, name: bytes) -> Fields:
    return [(key, value) for key, value in response.fields if key.lower() == name]
