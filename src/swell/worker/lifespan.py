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

__all__ = ["DRAIN_EVENT", "TASK_NAME", "Lifespan"]

log = logging.getLogger("swell")

# After the application's last lifespan message, and again after a cancellation, its task gets so many seconds to end.
END_GRACE = 1.0
TASK_NAME = "swell lifespan"
# An application that wants to know when its worker begins to end puts an event under this name into the state.
DRAIN_EVENT = "swell.lifecycle"


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
        self._asked = False
        self._stopping = False
        self._early = False

    async def startup(self) -> None:
        """Runs startup. Cancelling it cancels the application's startup.

        Raises `AppLoadError` when the application reports a failure, or fails itself where lifespan is `on`.
        """
        if self._mode == "off":
            return
        loop = asyncio.get_running_loop()
        self._started = loop.create_future()
        self._stopped = loop.create_future()
        self._task = loop.create_task(self._run(), name=TASK_NAME, context=self.context)
        self._messages.put_nowait({"type": "lifespan.startup"})
        await asyncio.wait((self._started, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._started.done():
            failure = self._started.result()
            if failure is not None:
                raise await self._failed(failure)
            self.supported = True
            self._task.add_done_callback(self._report_early_end)
            return
        error = _outcome(self._task)
        self._task = None
        if self._mode == "on":
            if error is None:
                raise AppLoadError("the application's lifespan returned before startup was complete (--lifespan on)")
            raise AppLoadError("the application's lifespan failed before startup was complete") from error
        # Many applications have no lifespan and say so by raising, or by returning at once. One that took the message
        # probably has one that broke; ASGI asks to go on without it all the same.
        level = logging.WARNING if self._asked and error is not None else logging.DEBUG
        log.log(level, "going on without lifespan: the application raised %r (--lifespan on makes it an error)", error)

    def tell_draining(self) -> None:
        """Sets the application's event, if it has put one into its state: no new requests come, those that run are to
        come to an end. ASGI leaves the state to the application, so nothing is there that it has not put there."""
        event = self.state.get(DRAIN_EVENT) if self.supported else None
        if event is None:
            return
        try:
            event.set()
        except Exception:
            log.exception(
                "the application's state has a %r that cannot be set: it is to be an asyncio.Event", DRAIN_EVENT
            )

    async def shutdown(self) -> bool:
        """Runs shutdown, if startup was run. False when the application reports a failure or fails."""
        if self._task is None or self._stopped is None or not self.supported:
            return True
        task, self._stopping = self._task, True
        self._messages.put_nowait({"type": "lifespan.shutdown"})
        await asyncio.wait((self._stopped, task), return_when=asyncio.FIRST_COMPLETED)
        failure = self._stopped.result() if self._stopped.done() else None
        await self._finish()
        error = _outcome(task)
        if failure is not None:
            log.error("the application's shutdown failed%s", _because(failure, error), exc_info=error)
        elif error is not None and not self._early:
            log.error("the application's lifespan failed at shutdown", exc_info=error)
        return failure is None and error is None

    async def cancel(self) -> None:
        """Gives the lifespan up, whatever it is doing."""
        if self._task is not None:
            self._task.cancel()
            await self._finish()

    async def _failed(self, message: str) -> AppLoadError:
        """Startup was reported as failed. Most applications go on to raise the reason."""
        task = self._task
        await self._finish()
        error = _outcome(task)
        failed = AppLoadError(f"the application's startup failed{_because(message, error)}")
        failed.__cause__ = error
        return failed

    async def _finish(self) -> None:
        """Waits for the task to end, which it has no reason not to do."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=END_GRACE)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait((self._task,), timeout=END_GRACE)
            self._task = None

    def _report_early_end(self, task: asyncio.Task[None]) -> None:
        error = _outcome(task)
        if error is not None and not self._stopping:
            self._early = True
            log.error("the application's lifespan failed while it was serving", exc_info=error)

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        await self._application(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        self._asked = True
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


def _outcome(task: asyncio.Task[None] | None) -> BaseException | None:
    """The exception of a task that has ended with one."""
    return None if task is None or not task.done() or task.cancelled() else task.exception()


def _because(message: str, error: BaseException | None) -> str:
    """The message, unless it only repeats the traceback that is shown anyway."""
    return "" if not message or (error is not None and "\n" in message.strip()) else f": {message}"
