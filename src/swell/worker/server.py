"""`Server`: one application on one event loop, from startup to the last connection.

The life of a server: addresses → application → lifespan startup → engine on the loop → serving → no more accepting →
draining → cancelling what does not end in time → lifespan shutdown. Each step of the end is bounded. Errors are
raised; the process around (exit codes, tracebacks) is `main`'s. Called by it, or by the user on a loop of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from socket import socket
from typing import Any

from swell._core import Engine
from swell.config import Config
from swell.errors import StartupError
from swell.worker.application import load_application
from swell.worker.asgi import Application
from swell.worker.attached import Attachment
from swell.worker.drain import part
from swell.worker.lifespan import Lifespan
from swell.worker.settings import EngineSettings
from swell.worker.signals import SIGNALS, delivered
from swell.worker.sockets import Listeners, Role, describe, prepare
from swell.worker.tls import Keeper
from swell.worker.tracing import Tracing
from swell.worker.wsgi import WsgiBridge

__all__ = ["Server"]

log = logging.getLogger("swell")

# After the drain's deadline, applications are cancelled and get this long to clean up, in seconds.
CANCEL_GRACE = 2.0


class Server:
    """Serves the application of `config`; again, if you like, once it has ended.

    `started` is true while connections are accepted. Setting `should_exit`, from any thread, begins a graceful end;
    `force_exit` cuts it short. Both stay set: clear them before serving again.
    """

    def __init__(
        self,
        config: Config,
        *,
        application: Application | None = None,
        before_accepting: Callable[[], None] | None = None,
        attachment: Attachment | None = None,
    ) -> None:
        """`application` is used instead of loading the one that `config` names. With an `attachment`, the server has a
        parent, which holds the sockets and decides from which of them connections are accepted."""
        self.config = config
        self.started = False
        self.engine: Engine | None = None
        self.addresses: list[str] = []
        self.ending_since: float | None = None  # time.monotonic()
        self._application = application
        self._before_accepting = before_accepting
        self._attachment = attachment
        self._should_exit = False
        self._force_exit = False
        self._signalled = False
        self._roles: list[Role] = []  # of the sockets that we have opened ourselves
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exit = asyncio.Event()
        self._force = asyncio.Event()
        self._waiters: list[asyncio.Future[bool]] = []

    @property
    def should_exit(self) -> bool:
        """True once the server is to end."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        self._notify()

    @property
    def force_exit(self) -> bool:
        """True once the server is not to wait for anybody any more."""
        return self._force_exit

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        self._force_exit = value
        self._notify()

    def _notify(self) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._set_events)

    def _set_events(self) -> None:
        if self._should_exit or self._force_exit:
            self._exit.set()
        if self._force_exit:
            self._force.set()

    async def wait_started(self) -> bool:
        """Waits, on the server's loop, until connections are accepted. False when the server ended before."""
        if self.started:
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return await waiter

    def _tell_waiters(self, started: bool) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(started)

    async def serve(self, sockets: Sequence[socket] | None = None, *, handle_signals: bool = False) -> None:
        """Serves until `should_exit` is set, the task is cancelled or, with `handle_signals`, a signal comes.

        Ends gracefully in each case; a second cancellation or signal ends it at once. `sockets` are bound sockets to
        use instead of the configured addresses; they are made non-blocking and stay open.

        Raises `StartupError` for an address that cannot be had and `AppLoadError` for an application that does not
        load or start.
        """
        if self._loop is not None:
            raise RuntimeError("this server is serving already; make another one")
        self._loop = loop = asyncio.get_running_loop()
        # Events belong to the loop that they are first waited on.
        self._exit, self._force = asyncio.Event(), asyncio.Event()
        self._set_events()
        try:
            with contextlib.ExitStack() as stack:
                if self._attachment is not None:
                    self._attachment.attend(self, loop)
                    sockets = ()
                elif sockets is None:
                    listeners = stack.enter_context(Listeners(self.config))
                    sockets, self._roles = listeners.sockets, listeners.roles
                else:
                    for listener in sockets:
                        prepare(listener, self.config.backlog, f"the given socket {listener!r}")
                application = load_application(self.config) if self._application is None else self._application
                if isinstance(application, WsgiBridge):
                    stack.callback(application.close)
                    if self._attachment is not None:
                        self._attachment.pools.add(application.pool)
                if handle_signals:
                    numbers = SIGNALS if self._attachment is None else (signal.SIGTERM,)
                    stack.enter_context(delivered(loop, self._on_signal, numbers))
                lifespan = Lifespan(application, self.config.lifespan)
                if await self._start(lifespan):
                    await self._serve(application, lifespan, sockets)
        finally:
            self._loop = None
            self._tell_waiters(False)

    async def _start(self, lifespan: Lifespan) -> bool:
        """Runs lifespan startup. False when the end was asked for meanwhile: there is nothing to finish yet."""
        starting = asyncio.ensure_future(lifespan.startup())
        try:
            await self._first(starting, self._exit, None)
            if starting.done():
                starting.result()
                return True
            log.info("the end was asked for during startup")
            return False
        finally:
            if not starting.done():
                starting.cancel()
                await self._first(asyncio.ensure_future(lifespan.cancel()), self._force, self._deadline)

    async def _serve(self, application: Application, lifespan: Lifespan, sockets: Sequence[socket]) -> None:
        loop = asyncio.get_running_loop()
        tracing = Tracing(self.config.app) if self.config.otel else None
        try:
            engine = Engine(
                EngineSettings.of(self.config),
                loop,
                application if tracing is None else tracing.around(application),
                state=lifespan.state if lifespan.supported else None,
                context=lifespan.context,
                report=_report,
                retire=self._retire,
                **({} if self._attachment is None else self._attachment.engine_options()),
            )
        except OSError as error:
            advice = "; raise the limit of open files (ulimit -n)" if error.errno == errno.EMFILE else ""
            raise StartupError(f"the engine cannot start: {error.strerror or error}{advice}") from None
        self.engine = engine
        watched = engine.fileno()
        loop.add_reader(watched, engine.turn)
        try:
            await self._unhurried(self._accept(engine, sockets))
        finally:
            try:
                await self._unhurried(self._end(engine, lifespan))
            finally:
                loop.remove_reader(watched)
                engine.close()
                self.engine = None
                if tracing is not None:
                    await tracing.end()

    async def _accept(self, engine: Engine, sockets: Sequence[socket]) -> None:
        if self._before_accepting is not None:
            self._before_accepting()
        watching = None
        if self._attachment is None and self.config.has_tls:
            if self.config.acme_domain:
                raise StartupError("--acme-domain needs a parent process: use swell serve or swell.run")
            keeper = Keeper(self.config)
            engine.set_tls(keeper.context)
            keeper.changed = lambda _: engine.set_tls(keeper.context)
            watching = asyncio.ensure_future(keeper.watch())
        roles = self._roles or [Role(tls=self.config.has_tls)] * len(sockets)
        for listener, role in zip(sockets, roles, strict=True):
            engine.listen(listener.fileno(), tls=role.tls, redirect=role.redirect)
        if self._attachment is not None:
            self._attachment.started(engine)
        self.addresses = [describe(listener, tls=role.tls) for listener, role in zip(sockets, roles, strict=True)]
        for address in self.addresses:
            log.info("listening on %s", address)
        self.started = True
        self._tell_waiters(True)
        try:
            await self._exit.wait()
        finally:
            if watching is not None:
                watching.cancel()

    async def _end(self, engine: Engine, lifespan: Lifespan) -> None:
        self.started = False
        self.ending_since = time.monotonic()
        lifespan.tell_draining()
        await self._drain(engine)
        stopping = asyncio.ensure_future(lifespan.shutdown())
        # Who asked for the end at once before this began still wants the application to close its files.
        forced = self._force_exit
        patience = (None, CANCEL_GRACE) if forced else (self._force, self._deadline)
        if not await self._first(stopping, *patience):
            if self._force_exit == forced:  # it was not late when its time was cut short
                log.warning("the application's lifespan shutdown did not end in time")
            stopping.cancel()
            await lifespan.cancel()

    async def _drain(self, engine: Engine) -> None:
        """Lets requests that run finish, sends away who stays; ends what does not end in time."""
        allowed = self.config.timeout_graceful_shutdown
        if self._attachment is not None:
            self._attachment.leaving()
        engine.stop_accepting()
        if self._attachment is not None:
            self._attachment.ending("told by a signal" if self._signalled else "by what the application raised")
        empty = engine.drain()
        parting = asyncio.ensure_future(part(engine, allowed))
        in_time = await self._first(empty, self._force, allowed)
        parting.cancel()
        await asyncio.wait((parting,))
        if not in_time:
            if not self._force.is_set():  # nobody was late when the time was cut short
                number = engine.connections
                log.warning("%d connection%s did not end in time: ending now", number, "" if number == 1 else "s")
            engine.dismiss()
            engine.end_streams()
            engine.cancel_all()
            engine.abort_all()
            await self._first(empty, None, CANCEL_GRACE)

    @property
    def _deadline(self) -> float | None:
        """For the application's own clean-up, which gets a moment even where requests get none."""
        allowed = self.config.timeout_graceful_shutdown
        return None if allowed is None else max(allowed, CANCEL_GRACE)

    @staticmethod
    async def _first(future: asyncio.Future[Any], event: asyncio.Event | None, timeout: float | None) -> bool:
        """Waits for `future`, at most until `event` is set or the time is over. True when the future is done."""
        waiting: set[asyncio.Future[Any]] = {future}
        other = None if event is None else asyncio.ensure_future(event.wait())
        if other is not None:
            waiting.add(other)
        try:
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if other is not None:
                other.cancel()
        return future.done()

    async def _unhurried(self, step: Coroutine[Any, Any, None]) -> None:
        """Runs a step of our life to its end although we are cancelled: the first cancellation asks for a graceful end,
        the next for one at once."""
        task = asyncio.ensure_future(step)
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as interruption:
                cancelled = interruption
                if self._should_exit:
                    self._force_exit = True
                self._should_exit = True
                self._set_events()
        if cancelled is not None:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
            raise cancelled
        await task

    def _on_signal(self, number: signal.Signals) -> None:
        self._signalled = True
        if self._attachment is not None and self._attachment.has_parent:
            # Who signals a whole group reaches us and the parent, which bounds our end.
            self.should_exit = True
        elif self._should_exit:
            log.info("%s again: ending now", number.name)
            self.force_exit = True
        else:
            log.info("%s: finishing the running requests, then ending", number.name)
            self.should_exit = True

    def _retire(self) -> None:
        if self._attachment is not None:
            self._attachment.retire("limit_max_requests is reached")
            return
        # At once: who has the last answer and comes again is to meet our successor.
        if self.engine is not None:
            self.engine.stop_accepting()
        log.info("limit_max_requests is reached: finishing the running requests, then ending")
        self.should_exit = True


def _report(level: int, text: str, error: BaseException | None) -> None:
    """The engine's log lines."""
    log.log(level, text, exc_info=error)
