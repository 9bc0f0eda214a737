"""The client of `support.client` over HTTP/2: the same methods, a stream for each request. RFC 9113, RFC 8441.

Responses are read in the order of the requests, as on an HTTP/1.1 connection, although they may come in any order.
What a test does with octets is not offered; `send`, `readexactly` and `rest` are for the bytes of a WebSocket. Frames,
HPACK and flow control are the `h2` package's, which shares nothing with the server's. Window is given back for whatever
has come, unless reading is paused.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes

from support.client import Connection, Fields, Response

__all__ = ["Http2Connection"]

LOW = 65536  # what may wait for window when `send` returns, as in asyncio's transports


@dataclass(eq=False)
class Stream:
    """One request: what waits to be sent, and what has come and was not taken yet."""

    number: int
    outgoing: bytearray = field(default_factory=bytearray)
    #: Bytes of the body that are still to be handed over, when its length was told.
    left: int | None = None
    last: bool = False  # nothing follows `outgoing`
    sent: bool = False  # END_STREAM is sent
    heads: deque[Response] = field(default_factory=deque)
    pieces: deque[bytes] = field(default_factory=deque)
    trailers: Fields = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class Http2Connection(Connection):
    """One connection with prior knowledge or by ALPN. `draining` says whether the server is at its end."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, draining: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__(reader, writer)
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
        )
        self.left = False
        self.goaway: int | None = None
        self._draining = draining
        self._secure = writer.get_extra_info("ssl_object") is not None
        self._streams: dict[int, Stream] = {}
        self._asked: deque[Stream] = deque()
        self._sending: Stream | None = None
        self._read: Stream | None = None
        self._paused = False
        self._owed: list[tuple[int, int]] = []
        self._pongs = 0
        self._closed = False
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Exchanges the settings."""
        if self._secure:
            assert self.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        self.h2.initiate_connection()
        self._reading = asyncio.create_task(self._receive())
        await self.settled()

    async def settled(self) -> None:
        """Everything that was sent has been acted on: the answer to a PING has come."""
        wanted = self._pongs + 1
        self.h2.ping(b"settled?")
        await self._flush()
        await self._wait(lambda: self._pongs >= wanted or self._closed)
        assert self._pongs >= wanted, f"the connection ended, GOAWAY: {self.goaway}"

    # Requests

    async def request(
        self, target: str = "/", method: str = "GET", fields: Fields | None = None, body: bytes = b""
    ) -> None:
        length = [(b"content-length", b"%d" % len(body))] if body else []
        stream = self._begin(target, method, [*(fields or []), *length], end=not body)
        stream.outgoing += body
        stream.last = True
        await self._sent(stream)

    async def begin(
        self, target: str = "/", method: str = "POST", fields: Fields | None = None, *, length: int | None = None
    ) -> None:
        framing = [] if length is None else [(b"content-length", b"%d" % length)]
        self._begin(target, method, [*framing, *(fields or [])]).left = length
        await self._flush()

    async def send_body(self, data: bytes) -> None:
        stream = self._current()
        stream.outgoing += data
        if stream.left is not None:
            stream.left -= len(data)
            assert stream.left >= 0
            stream.last = stream.left == 0
        await self._sent(stream)

    async def end_body(self) -> None:
        stream = self._current()
        assert stream.left is None
        stream.last = True
        await self._sent(stream)

    async def websocket(self, target: str, fields: Fields, behind: bytes = b"") -> None:
        """Ask for a WebSocket (RFC 8441 §4); `behind` is sent without waiting for the answer."""
        stream = self._begin(target, "CONNECT", fields, protocol=b"websocket")
        stream.outgoing += behind
        await self._sent(stream)

    def _begin(
        self, target: str, method: str, fields: Fields, *, protocol: bytes | None = None, end: bool = False
    ) -> Stream:
        scheme = b"https" if self._secure else b"http"
        pseudo = [(b":method", method.encode()), (b":scheme", scheme), (b":path", target.encode())]
        pseudo += [(b":authority", b"test")] + ([(b":protocol", protocol)] if protocol else [])
        stream = Stream(self.h2.get_next_available_stream_id(), sent=end)
        self._streams[stream.number] = stream
        self._asked.append(stream)
        self._sending = stream
        self.h2.send_headers(stream.number, [*pseudo, *((n.lower(), v) for n, v in fields)], end_stream=end)
        return stream

    def _current(self) -> Stream:
        assert self._sending is not None, "there is no request yet"
        return self._sending

    # Bytes of a WebSocket

    async def send(self, *pieces: bytes) -> None:
        stream = self._current()
        for piece in pieces:
            for part in self._parts(piece):
                stream.outgoing += part
                await self._sent(stream)

    async def readexactly(self, count: int) -> bytes:
        stream = self._asked[0]
        await self._wait(lambda: sum(map(len, stream.pieces)) >= count or stream.over or self._closed)
        whole = b"".join(stream.pieces)
        stream.pieces.clear()
        if len(whole) < count:
            raise asyncio.IncompleteReadError(whole, count)
        if len(whole) > count:
            stream.pieces.append(whole[count:])
        return whole[:count]

    async def rest(self) -> bytes:
        stream = self._asked[0]
        await self._wait(lambda: stream.over or self._closed)
        rest = b"".join(stream.pieces)
        stream.pieces.clear()
        if not stream.ended:
            raise ConnectionResetError(f"reset with {stream.reset}, GOAWAY: {self.goaway}")
        return rest

    async def flood(self, piece: bytes, most: int) -> int:
        stream, written = self._current(), 0
        while True:
            stream.outgoing += piece
            written += len(piece)
            for _ in range(1000):
                self._pump(stream)
                self._write()
                if not stream.outgoing and self.writer.transport.get_write_buffer_size() == 0:
                    break
                await asyncio.sleep(0)
            else:
                return written
            assert written < most, "the server takes everything"

    async def drain(self) -> None:
        stream = self._current()
        await self._wait(lambda: not stream.outgoing or stream.over or self._closed)

    # Responses

    async def head(self) -> Response:
        stream = self._asked[0]
        await self._wait(lambda: bool(stream.heads) or stream.over or self._closed)
        if not stream.heads:
            self._broken(stream)
        return stream.heads.popleft()

    async def response(self, *, head_only: bool = False) -> Response:
        stream = self._asked[0]
        interim = []
        while (head := await self.head()).status < 200:
            interim.append(head)
        head.interim = interim
        body = []
        while chunk := await self.chunk():
            body.append(chunk)
        head.body = b"".join(body)
        head.trailers = stream.trailers
        assert not (head_only and body)
        return head

    async def chunk(self) -> bytes:
        """What came in one DATA frame."""
        stream = self._asked[0]
        await self._wait(lambda: bool(stream.pieces) or stream.over or self._closed)
        if stream.pieces:
            return stream.pieces.popleft()
        if not stream.ended:
            self._broken(stream)
        self._read = self._asked.popleft()
        self._streams.pop(stream.number)
        return b""

    async def trailers(self) -> Fields:
        assert self._read is not None
        return self._read.trailers

    async def over(self, response: Response | None = None) -> None:
        """The stream is over, and the connection goes on with others."""
        stream = self._asked[0] if self._asked else self._read
        assert stream is not None
        await self._wait(lambda: stream.over or self._closed)
        assert not stream.pieces
        assert stream.ended
        assert stream.reset in (None, ErrorCodes.NO_ERROR)
        if self._draining() or self.left:
            await self._wait(lambda: self._closed)
            assert self.goaway in (None, ErrorCodes.NO_ERROR)
        else:
            await self.settled()

    async def cut(self) -> Response:
        stream = self._asked[0]
        head = await self.head()
        await self._wait(lambda: stream.over or self._closed)
        head.body = b"".join(stream.pieces)
        assert not stream.ended, f"the response is whole: {head}"
        assert stream.reset == ErrorCodes.INTERNAL_ERROR
        return head

    async def wait_nothing(self, seconds: float) -> None:
        stream = self._asked[0]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wait(lambda: bool(stream.heads or stream.pieces)), seconds)
        assert not stream.heads
        assert not stream.pieces

    def _broken(self, stream: Stream) -> None:
        raise asyncio.IncompleteReadError(b"".join(stream.pieces), None)

    def pause_reading(self) -> None:
        """Give no window back until `resume_reading`. Frames that ask for none are read."""
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._acknowledge()
        self._write()

    # The end

    def end(self) -> None:
        """For a WebSocket the end of its stream (RFC 8441 §5), otherwise the end of our side of the connection."""
        stream = self._current()
        if not stream.last and not stream.sent:
            stream.last = True
            self._pump(stream)
            self._write()
            return
        self.left = True
        super().end()

    def reset(self) -> None:
        """RST_STREAM for every stream that is not over (RFC 9113 §5.4.2, RFC 8441 §5)."""
        for stream in self._asked:
            if not stream.over:
                self.h2.reset_stream(stream.number, ErrorCodes.CANCEL)
                stream.outgoing.clear()
        self._write()

    def forget(self) -> None:
        self._streams.pop(self._asked.popleft().number)

    async def close(self) -> None:
        self.left = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await super().close()

    # Frames

    async def _sent(self, stream: Stream) -> None:
        """Until no more waits for window than a transport would keep."""
        self._pump(stream)
        await self._flush()
        await self._wait(lambda: len(stream.outgoing) <= LOW or stream.over or self._closed)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    def _acknowledge(self) -> None:
        for length, number in self._owed:
            self.h2.acknowledge_received_data(length, number)
        self._owed.clear()

    def _pump(self, stream: Stream) -> None:
        """Make frames of what waits, as the server gives window."""
        if stream.sent or stream.reset is not None:
            stream.outgoing.clear()
            return
        while stream.outgoing or stream.last:
            room = min(self.h2.local_flow_control_window(stream.number), self.h2.max_outbound_frame_size)
            if stream.outgoing and room == 0:
                return
            piece = bytes(stream.outgoing[:room])
            del stream.outgoing[:room]
            stream.sent = stream.last and not stream.outgoing
            self.h2.send_data(stream.number, piece, end_stream=stream.sent)
            if stream.sent:
                return

    def _write(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.writer.is_closing():
            self.writer.write(data)

    async def _flush(self) -> None:
        if self.step is None:
            return self._write()
        while data := self.h2.data_to_send():
            for part in self._parts(data):
                self.writer.write(part)
                await self.writer.drain()
                await asyncio.sleep(0)
        return None

    async def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._reading is not None and self._reading.done():
                self._reading.result()  # what the server sent was wrong
            self._news.clear()
            await self._news.wait()

    async def _receive(self) -> None:
        waiting = b""
        try:
            while data := await self.reader.read(1 << 18):
                waiting += data
                at = 0
                # Frame by frame: what follows a GOAWAY is for the state that `_note` leaves.
                while len(waiting) - at >= 9:
                    end = at + 9 + int.from_bytes(waiting[at : at + 3], "big")
                    if len(waiting) < end:
                        break
                    for event in self.h2.receive_data(waiting[at:end]):
                        self._note(event)
                    at = end
                waiting = waiting[at:]
                for stream in {*self._streams.values(), *filter(None, [self._sending])}:
                    if stream.outgoing:
                        self._pump(stream)
                if self.step is None:
                    self._write()
                self._news.set()
        except ConnectionError:
            pass
        finally:
            self._closed = True
            self._news.set()

    def _note(self, event: h2.events.Event) -> None:
        number = getattr(event, "stream_id", 0) or 0
        # The response may have been read before the request was sent.
        last = self._sending if self._sending is not None and self._sending.number == number else None
        stream = self._streams.get(number, last)
        match event:
            case h2.events.PingAckReceived():
                self._pongs += 1
            case h2.events.ConnectionTerminated():
                self.goaway = event.error_code
                # The package takes a GOAWAY for the end; streams under way go on (RFC 9113 §6.8).
                self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            case h2.events.DataReceived():
                self._owed.append((event.flow_controlled_length, event.stream_id))
                if not self._paused:
                    self._acknowledge()
                if stream is not None and event.data:
                    stream.pieces.append(event.data)
            case _ if stream is None:
                pass
            case h2.events.InformationalResponseReceived():
                stream.heads.append(_head(event.headers))
            case h2.events.ResponseReceived():
                head = _head(event.headers)
                head.streamed = event.stream_ended is None and head.field(b"content-length") is None
                stream.heads.append(head)
            case h2.events.TrailersReceived():
                stream.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
            case h2.events.StreamEnded():
                stream.ended = True
            case h2.events.StreamReset():
                stream.reset = event.error_code


def _head(fields: list[tuple[bytes, bytes]]) -> Response:
    (_, status), *rest = ((bytes(name), bytes(value)) for name, value in fields)
    return Response(int(status), rest)
