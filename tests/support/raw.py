"""Raw connections: bytes out exactly as given, and a strict, independent reader of responses. RFC 9112 §4, §6, §7.

Over TCP, a Unix socket or TLS. The reader accepts only what a correct server may send: anything else is an assertion
error that shows the bytes. What a test says with `request`, `begin`, `send_body`, `refusal` and the like, it can say
over HTTP/2 as well (`support.exchanges`).
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Address", "Closed", "Connection", "Fields", "Response", "connected", "get", "get_request", "opened"]

PATIENCE = 15.0  # seconds for any single wait

#: Of a TCP socket, or the path of a Unix socket.
Address = tuple[str, int] | str
Fields = Sequence[tuple[str, str]]

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

    #: As the last word of a request line.
    version = "HTTP/1.1"

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        self.input = bytearray()
        self._chunked = False

    # Requests

    def request(self, path: str = "/", method: str = "GET", fields: Fields = (), body: bytes = b"") -> None:
        """Sends a request; a body gets a Content-Length."""
        lines = [f"{method} {path} HTTP/1.1", "Host: a.example", *(f"{name}: {value}" for name, value in fields)]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def begin(self, path: str, length: int | None = None, fields: Fields = ()) -> None:
        """Sends the head of a request whose body follows; without a length, up to `end_body`."""
        self._chunked = length is None
        framing = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
        self.request(path, "POST", [*fields, framing])

    def send_body(self, data: bytes) -> None:
        """A server that does not want it any more is no error: the response tells."""
        self.send_pieces([b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data])

    def stuff_body(self, data: bytes, times: int) -> None:
        """Sends these bytes as body as often, or what of it the protocol lets a client send."""
        for _ in range(times):
            self.send_body(data)

    def end_body(self) -> None:
        """The end of a body whose length was not told."""
        self.send_pieces([b"0\r\n\r\n"])

    def stuff(self, data: bytes, most: int) -> int:
        """Sends these bytes again and again, as many times as they are taken without waiting."""
        self.socket.settimeout(0)
        taken = 0
        try:
            for _ in range(most):
                taken += self.socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        self.socket.settimeout(PATIENCE)
        return taken

    def leave(self) -> None:
        """The client wants no answer any more."""
        self.reset()

    # Bytes

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_pieces(self, pieces: Iterable[bytes]) -> None:
        """One segment per piece, as far as the kernel lets it be told. A server that closes early is no error."""
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                self.socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            pass

    def end(self) -> None:
        """Ends our sending side. Over TLS without saying so there."""
        socket.socket.shutdown(self.socket, socket.SHUT_WR)

    def reset(self) -> None:
        """Closes with a reset, where the protocol has one."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def take_some(self, most: int) -> None:
        """Takes so many bytes off the socket, or what is there of them."""
        self._more(most)

    def _more(self, most: int = 1 << 18) -> None:
        try:
            data = self.socket.recv(most)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
            # The end of TCP without one of TLS is no orderly end either.
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

    def get(self, path: str = "/", method: str = "GET", fields: Fields = (), body: bytes = b"") -> Response:
        """One request and its response."""
        self.request(path, method, fields, body)
        return self.response(head_only=method == "HEAD")

    def refusal(self) -> Response:
        """The next response, with which the server has had enough: the connection ends behind it, and it says so."""
        response = self.response()
        assert response.closes, response
        self.wait_closed()
        return response

    def cut(self) -> bytes:
        """The next response, which has no length, breaks off, and a client can tell. Returned is what came of it."""
        rest = self.rest()
        assert not rest.endswith(b"0\r\n\r\n"), rest
        return rest

    def was_lost(self) -> bool:
        """The connection ends before the next response is complete, and by a reset."""
        closed = self.outcome()
        return isinstance(closed, Closed) and (closed.reset or self.socket.family == socket.AF_UNIX)

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
def opened(
    address: Address, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None, preface: bytes = b""
) -> Iterator[socket.socket]:
    """A socket, connected. `receive_buffer` keeps the kernel from taking much that the test does not read; `preface` is
    sent before anything else, TLS included."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(address)
        sock.sendall(preface)
        if tls is None:
            yield sock
            return
        with tls.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False) as secure:
            yield secure


@contextmanager
def connected(
    address: Address, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None, preface: bytes = b""
) -> Iterator[Connection]:
    """A connection, as `opened` makes it."""
    with opened(address, receive_buffer=receive_buffer, tls=tls, preface=preface) as sock:
        yield Connection(sock)


def get_request(path: str) -> bytes:
    """As it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode()


def get(
    address: Address,
    target: str = "/",
    fields: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
    preface: bytes = b"",
) -> Response:
    """One request on a connection of its own."""
    with connected(address, tls=tls, preface=preface) as connection:
        lines = [f"GET {target} HTTP/1.1", "Host: a.example", "Connection: close", *fields]
        connection.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        return connection.response()
