"""`Server`: one application on one event loop, from startup to the last connection.

The life of a server: addresses → lifespan startup → engine on the loop → serving → no more accepting → draining →
cancelling what does not end in time → lifespan shutdown. Called by `run` and `serve`, or by the user on a loop of
their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from socket import socket

from swell._core import Engine
from swell.config import Config
from swell.worker.application import load_application
from swell.worker.lifespan import Lifespan
from swell.worker.settings import EngineSettings
from swell.worker.sockets import Listeners, describe

__all__ = ["Server"]

log = logging.getLogger("swell")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# After the drain's deadline, applications are cancelled and get this long to clean up, in seconds.
CANCEL_GRACE = 2.0


class Server:
    """Serves the application of `config`.

    `started` is true once connections are accepted. Setting `should_exit`, from any thread, begins a graceful end;
    `force_exit` cuts it short.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.started = False
        self.engine: Engine | None = None
        self.addresses: list[str] = []
        self._should_exit = False
        self._force_exit = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exit = asyncio.Event()
        self._force = asyncio.Event()

    @property
    def should_exit(self) -> bool:
        """True once the server is to end."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        self._notify(self._exit, value)

    @property
    def force_exit(self) -> bool:
        """True once the server is not to wait for anybody any more."""
        return self._force_exit

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        self._force_exit = value
        self._notify(self._force, value)

    def _notify(self, event: asyncio.Event, value: bool) -> None:
        if value and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(event.set)

    async def serve(self, sockets: Sequence[socket] | None = None, *, handle_signals: bool = False) -> None:
        """Serves until `should_exit` is set, the task is cancelled or, with `handle_signals`, a signal comes.

        `sockets` are listening sockets to use instead of the configured addresses; they stay open.

        Raises `StartupError` for an address that cannot be had and `AppLoadError` for an application that does not
        load or start.
        """
        self._loop = asyncio.get_running_loop()
        for event, wanted in ((self._exit, self._should_exit), (self._force, self._force_exit)):
            if wanted:
                event.set()
        with contextlib.ExitStack() as stack:
            if sockets is None:
                sockets = stack.enter_context(Listeners(self.config)).sockets
            if handle_signals:
                stack.enter_context(self._signals())
            application = load_application(self.config)
            lifespan = Lifespan(application, self.config.lifespan)
            await lifespan.startup()
            engine = Engine(
                EngineSettings.of(self.config),
                self._loop,
                application,
                state=lifespan.state if lifespan.supported else None,
                context=lifespan.context,
                report=_report,
            )
            self.engine = engine
            self._loop.add_reader(engine.fileno(), engine.turn)
            try:
                # What is alive now stays: the collector need not look at it again and again.
                gc.collect()
                gc.freeze()
                for listener in sockets:
                    engine.listen(listener.fileno())
                self.addresses = [describe(listener) for listener in sockets]
                for address in self.addresses:
                    log.info("listening on %s", address)
                self.started = True
                await self._exit.wait()
            finally:
                try:
                    await self._drain(engine)
                    await self._stop(lifespan)
                finally:
                    self._loop.remove_reader(engine.fileno())
                    engine.close()
                    self.started = False

    async def _drain(self, engine: Engine) -> None:
        """Lets requests that run finish; ends what does not in time."""
        engine.stop_accepting()
        if self._force_exit:
            engine.abort_all()
        empty = engine.drain()
        if not await self._within(empty, self.config.timeout_graceful_shutdown):
            log.warning("%d connections did not end in time, ending them", engine.connections)
            engine.cancel_all()
            engine.abort_all()
            await self._within(empty, CANCEL_GRACE, forced=True)

    async def _stop(self, lifespan: Lifespan) -> None:
        stopping = asyncio.ensure_future(lifespan.shutdown())
        if not await self._within(stopping, self.config.timeout_graceful_shutdown):
            log.warning("the application's shutdown did not end in time")
            stopping.cancel()
            await lifespan.cancel()

    async def _within(self, future: asyncio.Future[bool], timeout: float | None, *, forced: bool = False) -> bool:
        """Waits for `future`, for a second signal, or for the time to be over. True when the future is done."""
        force = asyncio.ensure_future(self._force.wait())
        try:
            waiting = {future} if forced else {future, force}
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            force.cancel()
        return future.done()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end gracefully, a second one at once."""
        loop = self._loop
        if loop is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._should_exit:
            log.info("%s again: ending now", name)
            self.force_exit = True
        else:
            log.info("%s: finishing the running requests, then ending", name)
            self.should_exit = True


def _report(level: int, text: str, error: BaseException | None) -> None:
    """The engine's log lines."""
    log.log(level, text, exc_info=error)
