"""The clients of the steady load: HTTP over kept and new connections, streams, uploads, WebSocket sessions.

Each asks one thing after the other at its own pace, never two at once on a connection, checks every byte of the answer
and writes the outcome into the report. The served application answers

    GET  /answer/ID               "ID PID GENERATION"
    GET  /stream/ID?N             the same, then N chunks "ID K" with pauses
    POST /upload/ID               "ID PID GENERATION LENGTH CRC32"
    WebSocket /echo, text ID      "ID PID GENERATION"
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable
from typing import ClassVar

from support.frames import CLOSE, PING, PONG, TEXT, close, frame
from support.link import Address, Broken, How, Link
from support.steady_report import Report, Request

__all__ = ["Client", "Fresh", "KeepAlive", "Streams", "Uploads", "WebSockets"]

END_SECONDS = 2.0  # for the other side's part of an orderly end
GOING_AWAY = (1001, 1012)  # RFC 6455 §7.4.1: come again


class Client:
    """One paced client: `ask` once per `interval` until the load stops."""

    kind: ClassVar[str]

    def __init__(self, address: Address, report: Report, interval: float, patience: float) -> None:
        self.address = address
        self.report = report
        self.interval = interval
        self.patience = patience
        self.link: Link | None = None

    async def run(self, stop: asyncio.Event, offset: float, may_go_on: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + offset
        try:
            while not stop.is_set() and may_go_on():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(0.0, due - loop.time()))
                    break
                due = max(due + self.interval, loop.time())  # who was held up does not make up for it with a burst
                await self._ask()
        finally:
            await self.end()

    async def _ask(self) -> None:
        request = self.report.begin(self.kind)
        try:
            async with asyncio.timeout(self.patience):
                await self.ask(request)
        except TimeoutError:
            self._lose(request, Broken(How.LATE))
        except Broken as broken:
            self._lose(request, broken)

    async def ask(self, request: Request) -> None:
        """One exchange, whose answer goes into the report. Raises `Broken`."""
        raise NotImplementedError

    async def end(self) -> None:
        self._drop()

    def _lose(self, request: Request, broken: Broken) -> None:
        self.report.losses.append(self.report.loss(request, broken, self._worker()))
        self._drop()

    def _worker(self) -> int | None:
        return None if self.link is None else self.link.worker

    def _drop(self) -> None:
        if self.link is not None:
            self.link.close()
        self.link = None

    async def _connect(self) -> Link:
        self.link = link = await Link.open(self.address)
        self.report.connections += 1
        return link

    def _served(self, request: Request, text: bytes) -> tuple[int, int, list[bytes]]:
        """Worker, generation and what follows, from "ID PID GENERATION …"."""
        words = text.split()
        if len(words) < 3 or words[0] != request.name.encode() or not (words[1] + words[2]).isdigit():
            raise Broken(How.WRONG, f"{text[:80]!r}")
        return int(words[1]), int(words[2]), words[3:]


class KeepAlive(Client):
    """Small GETs on a kept connection, which is given up after a number of them."""

    kind = "keep-alive"
    safe: ClassVar[bool] = True
    per_connection: ClassVar[int] = 100

    async def ask(self, request: Request) -> None:
        if self.link is not None and self.link.has_ended():
            self.report.closed_idle += 1
            self._drop()
        kept = self.link is not None
        try:
            await self._exchange(request, self.link or await self._connect())
        except Broken as broken:
            if not (kept and self.safe and broken.unread):
                raise
            self.report.retried.append(self.report.loss(request, broken, self._worker()))
            self._drop()
            await self._exchange(request, await self._connect())

    async def _exchange(self, request: Request, link: Link) -> None:
        last = link.requests + 1 >= self.per_connection
        await link.send(self.request(request, last))
        head = await link.head()
        text = await link.body(head)
        if head.status != 200:
            raise Broken(How.STATUS, f"{head.status} {text[:80]!r}")
        worker, generation, rest = self._served(request, text)
        self.check(request, rest)
        if kept_by := link.worker:
            assert kept_by == worker, f"a connection moved from worker {kept_by} to {worker}"
        link.worker = worker
        self.report.answer(request, worker, generation)
        self.report.announced += head.closes and not last
        if head.closes or last:
            await self._part(link, head.closes)

    async def _part(self, link: Link, server_closes: bool) -> None:
        if server_closes:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    self.report.untidy += not await link.wait_end()
        self._drop()

    def request(self, request: Request, last: bool) -> bytes:
        return self._head("GET", f"/answer/{request.name}", last)

    def check(self, request: Request, rest: list[bytes]) -> None:
        if rest:
            raise Broken(How.WRONG, f"more than was asked for: {rest[:5]!r}")

    @staticmethod
    def _head(method: str, target: str, last: bool, *fields: str) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", "Host: a.example", *fields]
        lines += ["Connection: close"] if last else []
        return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Fresh(KeepAlive):
    """One GET per connection. Every other client says that it will not be kept, the rest just go."""

    kind = "new connection"
    per_connection = 1

    def request(self, request: Request, last: bool) -> bytes:
        return super().request(request, int(request.name) % 2 == 0)


class Streams(KeepAlive):
    """Responses in chunks with pauses between them."""

    kind = "stream"
    per_connection = 5
    chunks: ClassVar[int] = 6

    def request(self, request: Request, last: bool) -> bytes:
        return self._head("GET", f"/stream/{request.name}?{self.chunks}", last)

    def check(self, request: Request, rest: list[bytes]) -> None:
        expected = [word for number in range(self.chunks) for word in (request.name.encode(), b"%d" % number)]
        if rest != expected:
            raise Broken(How.WRONG, f"chunks {rest[:20]!r}")


class Uploads(KeepAlive):
    """A POST with 40,000 bytes per connection. Not safe, so it is never repeated: RFC 9110 §9.2.2."""

    kind = "upload"
    safe = False
    per_connection = 1

    @staticmethod
    def _body(request: Request) -> bytes:
        return request.name.encode() * (40_000 // len(request.name))

    def request(self, request: Request, last: bool) -> bytes:
        body = self._body(request)
        return self._head("POST", f"/upload/{request.name}", last, f"Content-Length: {len(body)}") + body

    def check(self, request: Request, rest: list[bytes]) -> None:
        body = self._body(request)
        if rest != [b"%d" % len(body), b"%d" % zlib.crc32(body)]:
            raise Broken(How.WRONG, f"not the body that was sent: {rest!r}")


class WebSockets(Client):
    """Sessions in which every message is echoed. A session that ends with 1001 or 1012 is followed by another."""

    kind = "websocket"

    async def ask(self, request: Request) -> None:
        await self._take_farewell()
        for attempt in range(2):
            link = self.link
            if link is None:
                link = await self._connect()
                await link.open_websocket("/echo")
            try:
                await link.send(frame(TEXT, request.name.encode()))
            except Broken:
                if not link.has_input():  # the server's last words say why
                    raise
            code = await self._echoed(request, link)
            if code is None:
                return
            if code not in GOING_AWAY or attempt:
                raise Broken(How.CLOSED, f"close frame {code}")
            self.report.resent += 1

    async def _take_farewell(self) -> None:
        """Reads what came between two messages: a ping, or the close frame."""
        while self.link is not None and self.link.has_input():
            await self._next(self.link)
        if self.link is not None and self.link.has_ended():
            raise Broken(How.CLOSED, "a WebSocket without a close frame")

    async def _echoed(self, request: Request, link: Link) -> int | None:
        """None once the echo is there, or the code of a close frame that came instead."""
        while True:
            found = await self._next(link)
            if isinstance(found, int):
                return found
            if found is not None:
                worker, generation, rest = self._served(request, found)
                assert not rest
                link.worker = worker
                self.report.answer(request, worker, generation)
                return None

    async def _next(self, link: Link) -> bytes | int | None:
        """A message, or the code of a close frame, or None for what needs no attention."""
        found = await link.frame()
        if found.opcode == PING:
            await link.send(frame(PONG, found.payload))
        if found.opcode == CLOSE:
            self.report.sessions_closed[found.code or 1005] += 1
            with contextlib.suppress(Broken, TimeoutError):
                await link.send(close(found.code or 1000))
                async with asyncio.timeout(END_SECONDS):
                    await link.wait_end()
            self._drop()
            return found.code or 1005
        return found.payload if found.opcode == TEXT else None

    async def end(self) -> None:
        if self.link is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await self.link.leave(1000)
        self._drop()
