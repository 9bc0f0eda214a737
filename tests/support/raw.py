"""Raw connections: bytes out exactly as given, and a strict, independent reader of responses. RFC 9112 §4, §6, §7.

The reader accepts only what a correct server may send: anything else is an assertion error that shows the bytes.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Closed", "Connection", "Response", "connected"]

PATIENCE = 15.0  # seconds for any single wait

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ([\x20-\x7e]*)")
_FIELD = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)
_SIZE = re.compile(rb"[0-9a-fA-F]+")


class Closed(Exception):  # noqa: N818
    """The server has ended the connection; `rest` is what it sent of an unfinished response."""

    def __init__(self, rest: bytes, reset: bool) -> None:
        super().__init__(f"closed{' by reset' if reset else ''} after {rest[:200]!r}")
        self.rest = rest
        self.reset = reset


@dataclass
class Response:
    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    interim: list[int] = field(default_factory=list)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)

    def all(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.fields if known.lower() == name]

    def get(self, name: bytes) -> bytes | None:
        found = self.all(name)
        assert len(found) <= 1, f"{name!r} {len(found)} times"
        return found[0] if found else None

    @property
    def closes(self) -> bool:
        return (self.get(b"connection") or b"").lower() == b"close"


class Connection:
    """One client connection. Bytes that arrived and were not read yet are in `input`."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        self.input = bytearray()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_pieces(self, pieces: Iterable[bytes]) -> None:
        """One segment per piece, as far as the kernel lets it be told. A server that closes early is no error."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                self.socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def end(self) -> None:
        """Ends our sending side."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Closes with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def _more(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            raise Closed(bytes(self.input), True) from None
        if not data:
            raise Closed(bytes(self.input), False)
        self.input += data

    def take(self, count: int) -> bytes:
        while len(self.input) < count:
            self._more()
        taken = bytes(self.input[:count])
        del self.input[:count]
        return taken

    def take_line(self) -> bytes:
        while (at := self.input.find(b"\n")) < 0:
            self._more()
        line = self.take(at + 1)
        assert line.endswith(b"\r\n"), line
        assert b"\r" not in line[:-2], line
        return line[:-2]

    def _fields(self) -> list[tuple[bytes, bytes]]:
        fields = []
        while line := self.take_line():
            match = _FIELD.fullmatch(line)
            assert match, f"not a field line: {line!r}"
            fields.append((match[1], match[2] or b""))
        return fields

    def response(self, *, head_only: bool = False) -> Response:
        """The next final response. Raises `Closed` when the connection ends before it is complete."""
        interim: list[int] = []
        while True:
            line = self.take_line()
            match = _STATUS.fullmatch(line)
            assert match, f"not a status line: {line!r}"
            status, fields = int(match[1]), self._fields()
            if status >= 200 or status == 101:
                break
            interim.append(status)
        response = Response(status, fields, interim=interim)
        lengths, codings = response.all(b"content-length"), response.all(b"transfer-encoding")
        assert len(lengths) + len(codings) <= 1, f"framed twice: {fields}"
        if head_only or status in (101, 204, 304):
            return response
        if codings:
            assert codings == [b"chunked"], codings
            response.body, response.trailers = self._chunks()
        elif lengths:
            response.body = self.take(int(lengths[0]))
        else:
            response.body = self.rest()
        return response

    def outcome(self) -> Response | Closed:
        """The next response, or how the connection ended instead."""
        try:
            return self.response()
        except Closed as closed:
            return closed

    def _chunks(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        body = bytearray()
        while True:
            line = self.take_line()
            assert _SIZE.fullmatch(line), f"not a chunk size: {line!r}"
            if (size := int(line, 16)) == 0:
                return bytes(body), self._fields()
            body += self.take(size)
            assert self.take(2) == b"\r\n"

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        try:
            while True:
                self._more()
        except Closed as closed:
            self.input.clear()
            return closed.rest

    def wait_closed(self) -> None:
        """The server ends the connection, with nothing further on it."""
        rest = self.rest()
        assert rest == b"", f"unexpected bytes: {rest[:300]!r}"


@contextmanager
def connected(address: tuple[str, int], *, receive_buffer: int | None = None) -> Iterator[Connection]:
    """A connection. `receive_buffer` keeps the kernel from taking much that the test does not read."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with sock:
        sock.settimeout(PATIENCE)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(address)
        yield Connection(sock)


def get(address: tuple[str, int], target: str = "/", fields: Sequence[str] = ()) -> Response:
    """One request on a connection of its own."""
    with connected(address) as connection:
        lines = [f"GET {target} HTTP/1.1", "Host: a.example", "Connection: close", *fields]
        connection.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        return connection.response()
