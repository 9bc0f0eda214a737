"""`ControlServer`: the admin application on our own engine, on the parent's loop: on the control socket, and on TCP.

The limits are those of a socket for one person and a few scripts: small bodies, few requests at once, patience for
commands that take minutes. Who may connect is settled by the socket's mode (`instance`), and once more by the kernel's
word on who the peer is, in case the mode was changed. Called by the parent.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
from collections.abc import Awaitable
from socket import AF_UNIX, socket
from typing import Any, Protocol

from swell._core import Engine
from swell.config import Config
from swell.worker.asgi import Receive, Scope, Send
from swell.worker.settings import EngineSettings
from swell.worker.tls import Keeper

__all__ = ["ControlServer"]

log = logging.getLogger("swell")

# A command that has been answered must get its answer out; one that has not is cut off then. Seconds.
CLOSE_SECONDS = 2.0


def _settings(owner_only: bool) -> EngineSettings:
    settings = EngineSettings.of(
        Config.make(
            "control:app",
            access_log=False,
            proxy_headers=False,
            limit_request_line="1k",
            limit_head_size="8k",
            limit_head_fields=32,
            limit_body_size="16k",
            limit_concurrency=64,
            limit_queue=0,
            timeout_header=10,
            timeout_keep_alive=30,
            timeout_request="off",  # a reload takes as long as the application's start
            timeout_write=10,
        )
    )
    return dataclasses.replace(settings, owner_only=owner_only)


class Served(Protocol):
    """An ASGI application with commands: `running` are those that have begun and not ended."""

    @property
    def running(self) -> set[asyncio.Task[Any]]: ...

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]: ...


class ControlServer:
    """Serves an application on `listener`, from `start` to `close`. The socket stays open and stays the caller's.
    On a Unix socket only its owner is served. With a `keeper` it speaks TLS, with what the files have at the time."""

    def __init__(self, application: Served, listener: socket, keeper: Keeper | None = None) -> None:
        self._listener = listener
        self._keeper = keeper
        self._watching: asyncio.Task[None] | None = None
        self._application = application
        self._engine: Engine | None = None

    async def start(self) -> None:
        """Serves from now on, on the running loop. May be called again after `close`."""
        if self._engine is not None:
            raise RuntimeError("this control server runs already")
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        engine = Engine(
            _settings(self._listener.family == AF_UNIX),
            loop,
            self._application,
            state=None,
            context=contextvars.copy_context(),
            report=_report,
        )
        loop.add_reader(engine.fileno(), engine.turn)
        if (keeper := self._keeper) is not None:
            engine.set_tls(keeper.context)
            keeper.changed = lambda _: engine.set_tls(keeper.context)
            self._watching = loop.create_task(keeper.watch())
        engine.listen(self._listener.fileno(), tls=keeper is not None)
        self._engine = engine

    async def close(self) -> None:
        """Accepts nobody else, lets answers leave, and ends what takes longer than two seconds."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        watched = engine.fileno()
        if self._watching is not None:
            self._watching.cancel()
        try:
            engine.stop_accepting()
            empty = engine.drain()
            engine.dismiss()  # pages that look: they come again by themselves
            await asyncio.wait((empty,), timeout=CLOSE_SECONDS)
            # A command may be what ends the instance, and so what waits here.
            for task in self._application.running - {asyncio.current_task()}:
                task.cancel()
            if not empty.done():
                await asyncio.wait((empty,), timeout=CLOSE_SECONDS / 4)
                engine.cancel_all()
                engine.abort_all()
                await asyncio.wait((empty,), timeout=CLOSE_SECONDS / 4)
        finally:
            asyncio.get_running_loop().remove_reader(watched)
            engine.close()


def _report(level: int, text: str, error: BaseException | None) -> None:
    """The engine's log lines. Anything wrong with a request is the client's to know, and was in its answer."""
    if level >= logging.ERROR:
        log.log(level, "control socket: %s", text, exc_info=error)
    else:
        log.debug("control socket: %s", text, exc_info=error)
