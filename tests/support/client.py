"""A small HTTP/1.1 client that hides nothing: bytes out, heads, chunks and bodies in (RFC 9112 §2, §6, §7).

It knows framing and no more, raises on anything malformed, and never retries. Called by the tests that need to see
when which byte arrives; others use real clients. `support.streams` has the same methods over HTTP/2: what a test does
with them holds for both, what it does with octets (`send`, `reader`, `writer`) is about HTTP/1.1.
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
    #: A body follows whose length is not told: chunked, in HTTP/1.1.
    streamed: bool = False

    def field(self, name: bytes) -> bytes | None:
        """The value of the only field of that name; None without one."""
        values = [value for key, value in self.fields if key.lower() == name]
        assert len(values) <= 1, f"{name!r} is there {len(values)} times"
        return values[0] if values else None


class Connection:
    """One connection, with the responses read in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        #: Send so many bytes at a time, with a turn of the loop in between.
        self.step: int | None = None
        self._chunks = False

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            for part in self._parts(piece):
                self.writer.write(part)
                await self.writer.drain()
                if self.step is not None:
                    await asyncio.sleep(0)

    def _parts(self, data: bytes) -> list[bytes]:
        return [data] if self.step is None else [data[at : at + self.step] for at in range(0, len(data), self.step)]

    async def request(
        self, target: str = "/", method: str = "GET", fields: Fields | None = None, body: bytes = b""
    ) -> None:
        """Send a request; a body gets a Content-Length."""
        lines = [f"{method} {target} HTTP/1.1".encode(), b"host: test"]
        lines += [name + b": " + value for name, value in fields or []]
        if body:
            lines.append(b"content-length: %d" % len(body))
        await self.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    async def begin(
        self, target: str = "/", method: str = "POST", fields: Fields | None = None, *, length: int | None = None
    ) -> None:
        """Send the head of a request whose body follows; without a length, piece by piece up to `end_body`."""
        self._chunks = length is None
        framing = (b"transfer-encoding", b"chunked") if length is None else (b"content-length", b"%d" % length)
        await self.request(target, method, [framing, *(fields or [])])

    async def send_body(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data) if self._chunks else data)

    async def end_body(self) -> None:
        """The end of a body whose length was not told."""
        await self.send(b"0\r\n\r\n")

    async def drain(self) -> None:
        await self.writer.drain()

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
        head = Response(int(rest[:3]), await self.trailers())
        head.streamed = head.field(b"transfer-encoding") == b"chunked"
        assert not (head.streamed and head.field(b"content-length")), head.fields
        return head

    async def response(self, *, head_only: bool = False) -> Response:
        """The next final response with its whole body."""
        interim = []
        while (head := await self.head()).status < 200:
            interim.append(head)
        head.interim = interim
        if head_only or head.status in (204, 304):
            return head
        if head.streamed:
            while chunk := await self.chunk():
                head.body += chunk
            head.trailers = await self.trailers()
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

    async def readexactly(self, count: int) -> bytes:
        return await self.reader.readexactly(count)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return await self.reader.read()

    async def over(self, response: Response | None = None) -> None:
        """The connection ends behind the last response, which has said so if it is given."""
        assert response is None or response.field(b"connection") == b"close", response
        assert await self.rest() == b""

    async def cut(self) -> Response:
        """The next response breaks off, and a client can tell; returned is what came of it."""
        head = await self.head()
        try:
            if head.streamed:
                while chunk := await self.chunk():
                    head.body += chunk
            else:
                left = int(head.field(b"content-length") or b"")
                while left and (piece := await self.reader.read(left)):
                    head.body += piece
                    left -= len(piece)
                if left:
                    return head
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return head
        raise AssertionError(f"the response is whole: {head}")

    async def wait_nothing(self, seconds: float) -> None:
        """Nothing comes for so long."""
        try:
            seen = await asyncio.wait_for(self.reader.read(1), seconds)
        except TimeoutError:
            return
        raise AssertionError(f"something came: {seen!r}")

    async def wait_aborted(self) -> bytes:
        """Everything up to a reset. Fails when the connection ends in an orderly way."""
        seen = b""
        try:
            while piece := await self.reader.read(65536):
                seen += piece
        except ConnectionResetError:
            return seen
        raise AssertionError(f"the connection was not reset, it ended after {seen!r}")

    async def flood(self, piece: bytes, most: int) -> int:
        """Send until the server's side takes nothing more for a while; returns how many bytes were given to it.

        The "while" is a condition, not a guess: the server reads on the same loop, so it had its turn a thousand times.
        """
        written = 0
        while True:
            self.writer.write(piece)
            written += len(piece)
            for _ in range(1000):
                if self.writer.transport.get_write_buffer_size() == 0:
                    break
                await asyncio.sleep(0)
            else:
                return written
            assert written < most, "the server takes everything"

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
        if self.writer.is_closing():
            return  # asyncio answers the end of TLS with its own
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as raw:
            raw.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST, where the protocol has one; what was received and not read is lost."""
        raw = self.writer.get_extra_info("socket")
        if raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def forget(self) -> None:
        """What is left of the last response is not read; over HTTP/1.1 there is nothing behind it then."""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def _transport(self) -> asyncio.ReadTransport:
        return cast(asyncio.ReadTransport, self.writer.transport)  # uvloop's is none by name

    async def trailers(self) -> Fields:
        """The field lines up to the next empty one."""
        fields: Fields = []
        while line := (await self.reader.readuntil(b"\r\n"))[:-2]:
            name, colon, value = line.partition(b":")
            assert colon, line
            fields.append((name, value.strip()))
        return fields
