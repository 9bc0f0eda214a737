"""The lifespan protocol: startup before the first connection, shutdown after the last.

ASGI Lifespan 2.0. The application's lifespan coroutine runs as one task in one context; every request starts from a
copy of that context, so what startup sets in context variables is there.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any, Literal

from swell.errors import AppLoadError
from swell.worker.asgi import Application, Message

__all__ = ["Lifespan"]

log = logging.getLogger("swell")


class Lifespan:
    """One run of an application's lifespan.

    `state` is what the application put into `scope["state"]`; `context` is the context its startup ran in.
    """

    def __init__(self, application: Application, mode: Literal["auto", "on", "off"]) -> None:
        self._application = application
        self._mode = mode
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._started: asyncio.Future[str | None] | None = None
        self._stopped: asyncio.Future[str | None] | None = None
        self.state: dict[str, Any] = {}
        self.context = contextvars.copy_context()
        self.supported = False

    async def startup(self) -> None:
        """Runs startup.

        Raises `AppLoadError` when the application reports a failure, or fails itself where lifespan is `on`.
        """
        if self._mode == "off":
            return
        loop = asyncio.get_running_loop()
        self._started = loop.create_future()
        self._stopped = loop.create_future()
        self._task = loop.create_task(self._run(), name="swell lifespan", context=self.context)
        self._messages.put_nowait({"type": "lifespan.startup"})
        await asyncio.wait((self._started, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._started.done():
            self.supported = True
            failure = self._started.result()
            if failure is not None:
                await self._finish()
                raise AppLoadError(f"the application's startup failed{': ' if failure else ''}{failure}")
            return
        error = None if self._task.cancelled() else self._task.exception()
        if self._mode == "on":
            if error is None:
                raise AppLoadError("the application's lifespan returned before startup was complete")
            raise AppLoadError("the application's lifespan failed before startup was complete") from error
        # Many applications have no lifespan and say so by raising, or by returning at once.
        log.debug("the application has no lifespan (%r)", error)
        self._task = None

    async def shutdown(self) -> bool:
        """Runs shutdown, if startup was run. False when the application reports a failure or fails."""
        if self._task is None or self._stopped is None or not self.supported:
            return True
        self._messages.put_nowait({"type": "lifespan.shutdown"})
        await asyncio.wait((self._stopped, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._stopped.done():
            failure = self._stopped.result()
            if failure is not None:
                log.error("the application's shutdown failed%s%s", ": " if failure else "", failure)
            await self._finish()
            return failure is None
        error = None if self._task.cancelled() else self._task.exception()
        if error is not None:
            log.error("the application's lifespan failed at shutdown", exc_info=error)
        return error is None

    async def cancel(self) -> None:
        """Gives shutdown up."""
        if self._task is not None:
            self._task.cancel()
            await self._finish()

    async def _finish(self) -> None:
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=5)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait((self._task,), timeout=1)
            elif not self._task.cancelled() and self._task.exception() is not None:
                log.debug("the lifespan ended with %r", self._task.exception())
            self._task = None

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        await self._application(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        return await self._messages.get()

    async def _send(self, message: Message) -> None:
        assert self._started is not None
        assert self._stopped is not None
        kind = message["type"]
        stage, _, outcome = kind.removeprefix("lifespan.").partition(".")
        future = {"startup": self._started, "shutdown": self._stopped}.get(stage)
        if future is None or outcome not in ("complete", "failed"):
            raise RuntimeError(
                f"{kind!r} is not a lifespan message; "
                "they are lifespan.startup.complete, .failed, lifespan.shutdown.complete, .failed"
            )
        if future.done():
            raise RuntimeError(f"{kind!r} was sent twice, or after the other outcome")
        if stage == "shutdown" and not self._started.done():
            raise RuntimeError(f"{kind!r} was sent before startup was complete")
        future.set_result(message.get("message", "") if outcome == "failed" else None)
