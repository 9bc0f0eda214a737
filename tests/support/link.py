"""One client connection that keeps the evidence of how it ended: refused, reset, closed, unread. RFC 9112 §6, §7, §9.

Raw non-blocking sockets on the running event loop, because what tells a lost request from one that was never read is
in the socket: a server's kernel answers bytes for a closed socket, and a close with unread bytes, with a reset, while a
server that has read a request and goes without answering leaves an orderly end. It knows framing and no more: retries
and counts are `steady_clients`'.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
from dataclasses import dataclass, field

from support.frames import ACCEPT, CLOSE, Frame, handshake

__all__ = ["Address", "Broken", "Head", "How", "Link"]

Address = tuple[str, int] | str

PIECE = 1 << 16


class How(enum.Enum):
    """Why a request has no answer."""

    REFUSED = "connection refused"
    RESET = "connection reset"
    CLOSED = "closed without an answer"
    TRUNCATED = "cut within the answer"
    LATE = "not answered in time"
    WRONG = "wrong answer"
    STATUS = "error status"
    ABANDONED = "never finished"


class Broken(Exception):  # noqa: N818
    """The exchange has failed. `unread` says that the server cannot have read the request."""

    def __init__(self, how: How, detail: str = "", *, unread: bool = False) -> None:
        super().__init__(f"{how.value}{': ' if detail else ''}{detail}")
        self.how = how
        self.detail = detail
        self.unread = unread


@dataclass
class Head:
    status: int
    fields: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def closes(self) -> bool:
        return self.fields.get(b"connection", b"").lower() == b"close"


class Link:
    """One connection. Every method that reads raises `Broken` when the connection ends first."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.requests = 0
        self.worker: int | None = None  # who answered here before
        self._input = bytearray()
        self._begun = False  # a byte has come since the last request

    @classmethod
    async def open(cls, address: Address) -> Link:
        unix = isinstance(address, str)
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, address)
        except OSError as error:
            sock.close()
            raise Broken(How.REFUSED, str(error), unread=True) from None
        except BaseException:
            sock.close()
            raise
        if not unix:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock)

    def close(self) -> None:
        self.socket.close()

    def has_ended(self) -> bool:
        """Whether the server has closed while nothing was asked of it, which it may. RFC 9112 §9.5."""
        if self._input:
            return False
        try:
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    def has_input(self) -> bool:
        """Whether bytes have come that nobody asked for: a WebSocket's frame, and never a response."""
        try:
            return bool(self._input) or bool(self.socket.recv(1, socket.MSG_PEEK))
        except (BlockingIOError, ConnectionError):
            return False

    async def send(self, data: bytes) -> None:
        """Writes a request or a frame."""
        self.requests += 1
        self._begun = False
        try:
            sent = self.socket.send(data)
            if sent < len(data):
                await asyncio.get_running_loop().sock_sendall(self.socket, data[sent:])
        except BlockingIOError:
            await asyncio.get_running_loop().sock_sendall(self.socket, data)
        except ConnectionError as error:
            raise Broken(How.RESET, str(error), unread=True) from None

    async def _more(self) -> None:
        how = How.TRUNCATED if self._begun else None
        try:
            data = await asyncio.get_running_loop().sock_recv(self.socket, PIECE)
        except ConnectionError as error:
            raise Broken(how or How.RESET, str(error), unread=not self._begun) from None
        if not data:
            # The kernel on the other side refused our bytes: the error stays with the socket behind the end.
            refused = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
            raise Broken(how or How.CLOSED, unread=refused and not self._begun)
        self._begun = True
        self._input += data

    async def take(self, count: int) -> bytes:
        while len(self._input) < count:
            await self._more()
        taken = bytes(self._input[:count])
        del self._input[:count]
        return taken

    async def line(self) -> bytes:
        while (at := self._input.find(b"\r\n")) < 0:
            await self._more()
        return (await self.take(at + 2))[:-2]

    async def head(self) -> Head:
        """The next head. Each field is expected once."""
        line = await self.line()
        if not line.startswith(b"HTTP/1.1 ") or not line[9:12].isdigit():
            raise Broken(How.WRONG, f"status line {line[:80]!r}")
        head = Head(int(line[9:12]))
        while line := await self.line():
            name, _, value = line.partition(b":")
            head.fields[name.lower()] = value.strip()
        return head

    async def body(self, head: Head) -> bytes:
        """The whole body: its length must be announced, or it must be chunked and end with the last chunk."""
        if head.fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            parts = []
            while size := await self._size():
                parts.append(await self.take(size))
                await self._expect_line_end()
            await self._expect_line_end()
            return b"".join(parts)
        if b"content-length" not in head.fields:
            raise Broken(How.WRONG, "a body without framing cannot be checked for its end")
        return await self.take(int(head.fields[b"content-length"]))

    async def _size(self) -> int:
        line = await self.line()
        try:
            return int(line, 16)
        except ValueError:
            raise Broken(How.WRONG, f"chunk size {line[:80]!r}") from None

    async def _expect_line_end(self) -> None:
        if line := await self.line():
            raise Broken(How.WRONG, f"{line[:80]!r} instead of the end of a chunk")

    async def open_websocket(self, path: str) -> None:
        """The opening handshake. RFC 6455 §4.1."""
        await self.send(handshake(path))
        head = await self.head()
        if head.status != 101:
            raise Broken(How.STATUS, str(head.status))
        if head.fields.get(b"sec-websocket-accept") != ACCEPT:
            raise Broken(How.WRONG, "the handshake's accept key")

    async def frame(self) -> Frame:
        """The next frame. RFC 6455 §5.2."""
        first, second = await self.take(2)
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(await self.take(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.take(8), "big")
        return Frame(first & 0xF, await self.take(length), bool(first & 0x80), first >> 4 & 7)

    async def leave(self, code: int) -> None:
        """Ends a WebSocket in order: our close frame, then the server's end. RFC 6455 §7.1."""
        from support.frames import close

        with contextlib.suppress(Broken):
            await self.send(close(code))
            while (await self.frame()).opcode != CLOSE:
                pass
        self.close()

    async def wait_end(self) -> bool:
        """The end of a connection that has said it all. False when it is a reset or more bytes come."""
        try:
            return not self._input and not await asyncio.get_running_loop().sock_recv(self.socket, 1)
        except ConnectionError:
            return False
