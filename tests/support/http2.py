"""An HTTP/2 client that hides nothing: requests, frames as they are, and what came back stream by stream. RFC 9113.

Framing and HPACK are the `h2` package's, an implementation that shares nothing with the server's. It blocks, bounded in
time. Called by the tests that need to see single streams, windows and error codes; others use real clients.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings
import hyperframe.frame
from h2.errors import ErrorCodes

from support.raw import Address, opened

__all__ = ["ErrorCodes", "Http2", "Stream", "http2"]

PATIENCE = 20.0
Fields = Sequence[tuple[str, str]]


@dataclass
class Stream:
    """What has come on one stream."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    interim: list[list[tuple[str, str]]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False
    reset: ErrorCodes | int | None = None

    @property
    def status(self) -> int:
        return int(dict(self.fields)[":status"])

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    def get(self, name: str) -> str | None:
        return dict(self.fields).get(name)


class Http2:
    """One connection. `take`: give window back for what is received."""

    def __init__(self, sock: socket.socket, *, window: int | None = None) -> None:
        self.sock = sock
        self.take = True
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=True,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.streams: dict[int, Stream] = {}
        self.goaway: ErrorCodes | int | None = None
        self.last_stream: int | None = None
        self.closed = False
        #: Not in an orderly way.
        self.was_reset = False
        self.pongs = 0
        self.received = b""
        self.settings: dict[int, int] = {}
        self.h2.initiate_connection()
        if window is not None:
            self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self.raw(data)

    @property
    def refused(self) -> bool:
        """The server wants nothing more."""
        return self.closed or self.goaway is not None

    def raw(self, data: bytes) -> None:
        """These bytes, as they are. A server that has closed is no error here."""
        try:
            self.sock.settimeout(PATIENCE)
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            self.closed = self.was_reset = True

    def frames(self, *frames: hyperframe.frame.Frame) -> None:
        self.raw(b"".join(frame.serialize() for frame in frames))

    def begin(self, path: str = "/", method: str = "GET", fields: Fields = (), *, end: bool = True) -> int:
        """Sends a head. Returns the stream."""
        authority = [] if any(name == ":authority" for name, _ in fields) else [(":authority", "test.example")]
        pseudo = [(":method", method), (":scheme", "http"), (":path", path), *authority]
        return self.begin_with([*pseudo, *fields], end=end)

    def begin_with(self, fields: Fields, *, end: bool = True) -> int:
        """Sends exactly these fields."""
        stream: int = self.h2.get_next_available_stream_id()
        self.streams[stream] = Stream()
        self.h2.send_headers(stream, list(fields), end_stream=end)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Sends a body, as the server gives window."""
        while data:
            self.wait(lambda: self.streams[stream].over or self.room(stream) > 0, "window to send a body")
            if self.streams[stream].over:
                return
            piece, data = data[: self.room(stream)], data[self.room(stream) :]
            self.h2.send_data(stream, piece)
            self.flush()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    def room(self, stream: int) -> int:
        """How much may be sent now in one frame."""
        return min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)

    def reset(self, stream: int, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        self.h2.reset_stream(stream, code)
        self.flush()

    def get(self, path: str = "/", method: str = "GET", fields: Fields = (), body: bytes = b"") -> Stream:
        """One request and its whole response."""
        stream = self.begin(path, method, fields, end=not body)
        if body:
            self.send(stream, body, end=True)
        return self.response(stream)

    def response(self, stream: int) -> Stream:
        self.wait(lambda: self.streams[stream].over or self.closed, f"the end of stream {stream}")
        return self.streams[stream]

    def wait_head(self, stream: int) -> Stream:
        self.wait(lambda: bool(self.streams[stream].fields) or self.closed, f"the head of stream {stream}")
        return self.streams[stream]

    def wait_closed(self) -> ErrorCodes | int | None:
        """The end of the connection. Returns the last GOAWAY's code."""
        self.wait(lambda: self.closed, "the end of the connection")
        return self.goaway

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Reads until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert not self.closed, f"the connection ended before {what}"
            left = end - time.monotonic()
            assert left > 0, f"not within {seconds} s: {what}"
            self.read(left)

    def read(self, seconds: float, most: int = 1 << 16) -> None:
        """Reads once."""
        self.sock.settimeout(max(seconds, 0.001))
        try:
            data = self.sock.recv(most)
        except TimeoutError:
            return
        except (ConnectionResetError, ssl.SSLEOFError):
            self.was_reset = True
            data = b""
        if not data:
            self.closed = True
            return
        # Frame by frame: what follows a GOAWAY is for the state that `_note` leaves.
        self.received += data
        while len(self.received) >= 9:
            length = 9 + int.from_bytes(self.received[:3], "big")
            if len(self.received) < length:
                break
            frame, self.received = self.received[:length], self.received[length:]
            for event in self.h2.receive_data(frame):
                self._note(event)
        self.flush()

    def look(self) -> None:
        """Reads what is there already."""
        while not self.closed and select.select([self.sock], [], [], 0)[0]:
            self.read(1)

    def settled(self) -> None:
        """Everything that was sent before has been acted on: the answer to a PING has come."""
        wanted = self.pongs + 1
        self.h2.ping(b"settled?")
        self.flush()
        self.wait(lambda: self.pongs >= wanted, "the answer to a PING")

    def settled_or_refused(self) -> None:
        wanted = self.pongs + 1
        self.look()
        if not self.refused:
            self.h2.ping(b"settled?")
            self.flush()
        self.wait(lambda: self.refused or self.pongs >= wanted, "the answer to a PING or the end")

    def _note(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                self.streams[event.stream_id].fields = _text(event.headers)
            case h2.events.InformationalResponseReceived():
                self.streams[event.stream_id].interim.append(_text(event.headers))
            case h2.events.DataReceived():
                self.streams[event.stream_id].body += event.data
                if self.take:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                self.streams[event.stream_id].trailers = _text(event.headers)
            case h2.events.StreamEnded():
                self.streams[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.streams.setdefault(event.stream_id, Stream()).reset = event.error_code
            case h2.events.ConnectionTerminated():
                self.goaway, self.last_stream = event.error_code, event.last_stream_id
                # The package takes a GOAWAY for the end; streams under way go on (RFC 9113 §6.8).
                self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            case h2.events.PingAckReceived():
                self.pongs += 1
            case h2.events.RemoteSettingsChanged():
                self.settings |= {int(code): change.new_value for code, change in event.changed_settings.items()}


def _text(fields: Sequence[tuple[bytes | str, bytes | str]]) -> list[tuple[str, str]]:
    def text(value: bytes | str) -> str:
        return value if isinstance(value, str) else value.decode("latin-1")

    return [(text(name), text(value)) for name, value in fields]


@contextmanager
def http2(
    address: Address,
    *,
    window: int | None = None,
    receive_buffer: int | None = None,
    tls: ssl.SSLContext | None = None,
    preface: bytes = b"",
) -> Iterator[Http2]:
    """A connection with prior knowledge, or over TLS, closed at the end. `window`: of each stream, to begin with."""
    with opened(address, receive_buffer=receive_buffer, tls=tls, preface=preface) as sock:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(sock, ssl.SSLSocket):
            assert sock.selected_alpn_protocol() == "h2"
        yield Http2(sock, window=window)
