"""Swell inside the test's own process: one event loop runs the server, the client and the assertions.

`serving(backend, app, scenario)` starts a loop of the backend's kind, serves `app` on a socket of the backend's
family, runs `scenario(server)` and stops the server gracefully. It judges what is left behind: log lines nobody
announced, exceptions nobody caught, connections or applications that did not end.
"""

import asyncio
import contextlib
import functools
import gc
import logging
import re
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from support.certificates import client_context, server_files
from support.client import Connection
from support.streams import Http2Connection
from swell import Config, Server
from swell._core import Engine

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
# More than ASGI asks for: what they return passes as a coroutine, so that it can be made a task.
Receive = Callable[[], Coroutine[Any, Any, Message]]
Send = Callable[[Message], Coroutine[Any, Any, None]]
App = Callable[[Scope, Receive, Send], Any]

SECONDS = 20.0  # for a whole scenario, on a busy machine
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@dataclass(frozen=True)
class Backend:
    """Where a test runs: loop, socket, TLS or not, protocol, and what is done to the loop before serving."""

    name: str
    loop: str = "asyncio"
    family: socket.AddressFamily = socket.AF_INET
    prepare: Callable[[asyncio.AbstractEventLoop], None] | None = None
    tls: bool = False
    http2: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """What the server needs for it."""
        return dict(zip(("ssl_certfile", "ssl_keyfile"), server_files(), strict=True)) if self.tls else {}

    def listener(self, directory: Path) -> socket.socket:
        listener = socket.socket(self.family)
        listener.bind(str(directory / "swell.sock") if self.family == socket.AF_UNIX else ("127.0.0.1", 0))
        if self.family == socket.AF_INET:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.listen(128)
        listener.setblocking(False)
        return listener


class Log(logging.Handler):
    """Swell's log lines, judged at the end."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self.expected: list[tuple[int, str]] = []
        self._changed = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self._changed.set()

    def expect(self, level: int, pattern: str) -> None:
        """A line of this level that matches is right, and has to come."""
        self.expected.append((level, pattern))

    async def wait_for(self, pattern: str) -> logging.LogRecord:
        while True:
            self._changed.clear()
            for record in self.records:
                if re.search(pattern, record.getMessage()):
                    return record
            await self._changed.wait()

    def judge(self) -> None:
        lines = [(record.levelno, record.getMessage()) for record in self.records]
        for level, pattern in self.expected:
            assert any(level == seen and re.search(pattern, text) for seen, text in lines), (
                f"no line of level {level} matches {pattern!r} in {lines}"
            )
        for level, text in lines:
            announced = any(wanted == level and re.search(pattern, text) for wanted, pattern in self.expected)
            assert level < logging.WARNING or announced, f"unexpected: {text}\n{self.tracebacks()}"

    def tracebacks(self) -> str:
        formatter = logging.Formatter()
        return "\n".join(formatter.formatException(record.exc_info) for record in self.records if record.exc_info)


@functools.cache
def _context(alpn: str) -> ssl.SSLContext:
    """One for all connections: to make one costs more than a handshake."""
    return client_context(alpn=(alpn,))


class InProcess:
    """A running server, as its tests see it."""

    def __init__(self, server: Server, address: Any, log: Log, backend: Backend) -> None:
        self.server = server
        self.address = address
        self.backend = backend
        self.log = log
        self.loop = asyncio.get_running_loop()
        self._clients: set[Http2Connection] = set()

    @property
    def engine(self) -> Engine:
        assert self.server.engine is not None
        return self.server.engine

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        secure: dict[str, Any] = {}
        if self.backend.tls:
            alpn = "h2" if self.backend.http2 else "http/1.1"
            secure = {"ssl": _context(alpn), "server_hostname": "localhost"}
        if isinstance(self.address, str):
            reader, writer = await asyncio.open_unix_connection(self.address, limit=1 << 20, **secure)
        else:
            reader, writer = await asyncio.open_connection(*self.address, limit=1 << 20, **secure)
        if not self.backend.http2:
            connection = Connection(reader, writer)
            try:
                yield connection
            finally:
                await connection.close()
            return
        streams = Http2Connection(reader, writer, lambda: self.server.should_exit)
        self._clients.add(streams)
        try:
            await streams.open()
            yield streams
        finally:
            self._clients.remove(streams)
            await streams.close()

    async def wait_idle(self) -> None:
        """Until no application runs and no connection is open, but those of HTTP/2 clients that have not left."""

        def idle() -> bool:
            staying = sum(not client.left for client in self._clients)
            return self.engine.active == 0 and self.engine.connections == staying

        await wait_until(idle)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Turn the loop until the condition holds; the scenario's time-out is the bound."""
    while not condition():  # noqa: ASYNC110 - the engine has no events to wait for
        await asyncio.sleep(0.001)


def serving(
    backend: Backend,
    app: App,
    scenario: Callable[[InProcess], Coroutine[Any, Any, T]],
    *,
    seconds: float = SECONDS,
    **options: Any,
) -> T:
    """Serve `app` with the options while `scenario` runs; returns its result."""
    with tempfile.TemporaryDirectory() as directory, unraisable() as lost:
        with asyncio.Runner(loop_factory=LOOPS[backend.loop]) as runner:
            result, log = runner.run(_serve(backend, app, scenario, Path(directory), seconds, options))
        gc.collect()
    log.judge()
    assert not lost, lost
    return result


async def _serve(
    backend: Backend,
    app: App,
    scenario: Callable[[InProcess], Coroutine[Any, Any, T]],
    directory: Path,
    seconds: float,
    options: Any,
) -> tuple[T, Log]:
    loop = asyncio.get_running_loop()
    if backend.prepare is not None:
        backend.prepare(loop)
    uncaught: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: uncaught.append(context))
    log = Log()
    logger = logging.getLogger("swell")
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    try:
        with backend.listener(directory) as listener:
            server = Server(Config.make(app, **{"lifespan": "off", "access_log": False, **backend.options, **options}))
            serve = asyncio.ensure_future(server.serve([listener]))
            try:
                async with asyncio.timeout(seconds):
                    await wait_until(lambda: server.started or serve.done())
                    if serve.done():
                        await serve
                    running = InProcess(server, listener.getsockname(), log, backend)
                    result = await scenario(running)
                    if server.should_exit:  # the scenario's doing
                        await serve
                    else:
                        assert not serve.done(), "the server ended by itself"
                        await running.wait_idle()
            except TimeoutError as error:
                raise AssertionError(f"the scenario did not end in time; log: {log.records}") from error
            finally:
                server.should_exit = True
                async with asyncio.timeout(SECONDS):
                    await serve
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)
        gc.unfreeze()  # the server freezes what it finds; the next test must be able to look at it
    assert not uncaught, uncaught
    return result, log


@contextlib.contextmanager
def unraisable() -> Iterator[list[str]]:
    """Collects what is raised where nobody can catch it."""
    seen: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda problem: seen.append(f"{problem.err_msg} {problem.object!r}: {problem.exc_value!r}")
    try:
        yield seen
    finally:
        sys.unraisablehook = before
