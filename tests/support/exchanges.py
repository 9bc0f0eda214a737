"""Requests over HTTP/2 in the words of `support.raw`: what a test says of requests it says over both. RFC 9113.

Responses are read in the order of the requests. What a test does with bytes is not offered. Several may share one
connection: each is a client of its own then. Framing and windows are `support.http2`'s. Called by the tests of limits
and time-outs.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from support.http2 import Http2, http2
from support.raw import Address, Closed, Fields, Response

__all__ = ["Exchanges", "exchanges"]

#: Of streams and connection: what is not taken waits in the kernel's buffers, as over HTTP/1.1.
WINDOW = 1 << 28
PATIENCE = 20.0


class Exchanges:
    """The requests of one client."""

    version = "HTTP/2"

    def __init__(self, connection: Http2) -> None:
        self.http2 = connection
        self._asked: deque[int] = deque()
        self._sending = 0

    # Requests

    def request(self, path: str = "/", method: str = "GET", fields: Fields = (), body: bytes = b"") -> None:
        length = [("content-length", str(len(body)))] if body else []
        self._begin(path, method, [*fields, *length], end=not body)
        if body:
            self.http2.send(self._sending, body, end=True)

    def begin(self, path: str, length: int | None = None, fields: Fields = ()) -> None:
        self._begin(path, "POST", [*fields, *([] if length is None else [("content-length", str(length))])], end=False)

    def send_body(self, data: bytes) -> None:
        stream = self.http2.streams[self._sending]
        self.http2.look()
        if not stream.over:
            self.http2.send(self._sending, data)

    def end_body(self) -> None:
        self.http2.look()
        if not self.http2.streams[self._sending].over:
            self.http2.send(self._sending, b"", end=True)

    def stuff_body(self, data: bytes, times: int) -> None:
        self.stuff(data, times)

    def stuff(self, data: bytes, most: int) -> int:
        """Sends these bytes as body again and again, as many times as the server gives window for them."""
        taken = 0
        self.http2.settled()  # the server's settings say how much it takes
        while taken < most * len(data) and (room := self.http2.room(self._sending)) > 0:
            self.http2.h2.send_data(self._sending, data[:room])
            taken += min(room, len(data))
            self.http2.flush()
            self.http2.look()
        return taken

    def leave(self) -> None:
        """No answer is wanted to what was asked, and its end is reset."""
        while self._asked:
            stream = self._asked.popleft()
            if not self.http2.streams[stream].over:
                self.http2.reset(stream)

    def close(self) -> None:
        """Ends the connection, whoever shares it."""
        self.http2.sock.close()

    def _begin(self, path: str, method: str, fields: Fields, *, end: bool) -> None:
        lowered = [(name.lower(), value) for name, value in fields]
        self._sending = self.http2.begin(path, method, lowered, end=end)
        self._asked.append(self._sending)

    # Responses

    def take_some(self, most: int) -> None:
        self.http2.read(PATIENCE, most)

    def response(self, *, head_only: bool = False) -> Response:
        outcome = self.outcome()
        if isinstance(outcome, Closed):
            raise outcome
        assert not (head_only and outcome.body)
        return outcome

    def outcome(self) -> Response | Closed:
        number = self._asked.popleft()
        stream = self.http2.response(number)
        if not stream.ended:
            return Closed(stream.body, self.http2.was_reset or stream.reset is not None)
        return Response(
            stream.status,
            [(name.encode("latin-1"), value.encode("latin-1")) for name, value in stream.fields if name != ":status"],
            stream.body,
            [int(dict(head)[":status"]) for head in stream.interim],
            [(name.encode("latin-1"), value.encode("latin-1")) for name, value in stream.trailers],
        )

    def get(self, path: str = "/", method: str = "GET", fields: Fields = (), body: bytes = b"") -> Response:
        self.request(path, method, fields, body)
        return self.response(head_only=method == "HEAD")

    def refusal(self) -> Response:
        """The next response, with which the server has had enough: of the stream, not of the connection."""
        number = self._asked[0]
        response = self.response()
        assert not response.all(b"connection"), response
        assert self.http2.streams[number].reset in (None, ErrorCodes.NO_ERROR)
        self.http2.settled()
        return response

    def cut(self) -> bytes:
        """The next response breaks off: its stream does, the connection goes on."""
        number = self._asked[0]
        outcome = self.outcome()
        assert isinstance(outcome, Closed), outcome
        assert self.http2.streams[number].reset == ErrorCodes.INTERNAL_ERROR
        self.http2.settled()
        return outcome.rest

    def was_lost(self) -> bool:
        closed = self.outcome()
        return isinstance(closed, Closed) and self.http2.closed and self.http2.was_reset

    def wait_closed(self) -> None:
        """The server ends the connection in an orderly way: nobody takes a request for lost."""
        assert self.http2.wait_closed() == ErrorCodes.NO_ERROR
        assert not self._asked

    def wait_accepted(self) -> None:
        """What was asked has reached the server and has been looked at."""
        for _ in range(2):
            self.http2.settled()

    def idle(self, seconds: float) -> None:
        """Nothing is asked for so long, and the server does not end the connection."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.http2.read(left)
            assert not self.http2.refused


@contextmanager
def exchanges(
    address: Address,
    *,
    receive_buffer: int | None = None,
    tls: ssl.SSLContext | None = None,
    preface: bytes = b"",
) -> Iterator[Exchanges]:
    """A connection for one client, which gives window for more than a test asks."""
    with http2(address, receive_buffer=receive_buffer, tls=tls, preface=preface) as connection:
        connection.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        connection.h2.increment_flow_control_window(WINDOW)
        connection.flush()
        yield Exchanges(connection)
