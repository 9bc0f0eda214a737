"""A small HTTP/1.1 client that hides nothing: bytes out, heads, chunks and bodies in (RFC 9112 §2, §6, §7).

It knows framing and no more, raises on anything malformed, and never retries. Called by the tests that need to see
when which byte arrives; others use real clients.
"""

import asyncio
import contextlib
import os
import socket
import struct
from dataclasses import dataclass, field
from typing import cast

Fields = list[tuple[bytes, bytes]]


@dataclass
class Response:
    """One response. `interim` holds the heads that came before it."""

    status: int
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    interim: list["Response"] = field(default_factory=list)

    def field(self, name: bytes) -> bytes | None:
        """The value of the only field of that name; None without one."""
        values = [value for key, value in self.fields if key.lower() == name]
        assert len(values) <= 1, f"{name!r} is there {len(values)} times"
        return values[0] if values else None

    @property
    def chunked(self) -> bool:
        return self.field(b"transfer-encoding") == b"chunked"


class Connection:
    """One connection, with the responses read in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def request(
        self, target: str = "/", method: str = "GET", fields: Fields | None = None, body: bytes = b""
    ) -> None:
        """Send a request; a body gets a Content-Length."""
        lines = [f"{method} {target} HTTP/1.1".encode(), b"host: test"]
        lines += [name + b": " + value for name, value in fields or []]
        if body:
            lines.append(b"content-length: %d" % len(body))
        await self.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    async def get(
        self, target: str = "/", method: str = "GET", fields: Fields | None = None, body: bytes = b""
    ) -> Response:
        await self.request(target, method, fields, body)
        return await self.response(head_only=method == "HEAD")

    async def head(self) -> Response:
        """The next head, interim ones included."""
        line = await self.reader.readuntil(b"\r\n")
        version, _, rest = line.partition(b" ")
        assert version == b"HTTP/1.1", line
        return Response(int(rest[:3]), await self._fields())

    async def response(self, *, head_only: bool = False) -> Response:
        """The next final response with its whole body."""
        interim = []
        while (head := await self.head()).status < 200:
            interim.append(head)
        head.interim = interim
        if head_only or head.status in (204, 304):
            return head
        if head.chunked:
            assert head.field(b"content-length") is None
            while chunk := await self.chunk():
                head.body += chunk
            head.trailers = await self._fields()
        elif (length := head.field(b"content-length")) is not None:
            head.body = await self.reader.readexactly(int(length))
        else:
            assert head.field(b"connection") == b"close"
            head.body = await self.reader.read()
        return head

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; b"" is the last one, trailers follow."""
        size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
        if size == 0:
            return b""
        data = await self.reader.readexactly(size)
        assert await self.reader.readexactly(2) == b"\r\n"
        return data

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return await self.reader.read()

    async def wait_aborted(self) -> bytes:
        """Everything up to a reset. Fails when the connection ends in an orderly way."""
        seen = b""
        try:
            while piece := await self.reader.read(65536):
                seen += piece
        except ConnectionResetError:
            return seen
        raise AssertionError(f"the connection was not reset, it ended after {seen!r}")

    def pause_reading(self) -> None:
        """Take nothing from the socket until `resume_reading`, so that its buffers fill up."""
        self._transport().pause_reading()

    def resume_reading(self) -> None:
        self._transport().resume_reading()

    def end(self) -> None:
        """FIN: nothing more will be sent. Over TLS without saying so there."""
        if self.writer.get_extra_info("ssl_object") is None:
            self.writer.write_eof()
            return
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as raw:
            raw.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST, where the protocol has one; what was received and not read is lost."""
        raw = self.writer.get_extra_info("socket")
        if raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def _transport(self) -> asyncio.ReadTransport:
        return cast(asyncio.ReadTransport, self.writer.transport)  # uvloop's is none by name

    async def _fields(self) -> Fields:
        fields: Fields = []
        while line := (await self.reader.readuntil(b"\r\n"))[:-2]:
            name, colon, value = line.partition(b":")
            assert colon, line
            fields.append((name, value.strip()))
        return fields
