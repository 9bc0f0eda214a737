"""The native part of Swell: sockets, timers, connections and the ASGI cycle. Checked against the built module."""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from typing import Any, Final, final

from swell.worker.asgi import Application
from swell.worker.settings import EngineSettings

__all__ = ["BUILD_PROFILE", "VERSION", "ClientDisconnected", "Engine", "MessageError"]

BUILD_PROFILE: Final[str]
VERSION: Final[str]

class ClientDisconnected(OSError):  # noqa: N818 - it says what happened, as asyncio's CancelledError does
    """The client has gone: what `send()` was given cannot be delivered any more (ASGI HTTP 2.4)."""

class MessageError(RuntimeError):
    """The application sent an ASGI message that is malformed or comes at the wrong time."""

@final
class Engine:
    def __new__(
        cls,
        settings: EngineSettings,
        event_loop: asyncio.AbstractEventLoop,
        application: Application,
        *,
        state: dict[str, Any] | None,
        context: contextvars.Context,
        report: Callable[[int, str, BaseException | None], object],
        retire: Callable[[], object] | None = None,
    ) -> Engine: ...
    def fileno(self) -> int: ...
    def turn(self) -> None: ...
    def listen(self, fd: int, accepting: bool = True) -> None: ...
    def accept_from(self, indexes: Sequence[int]) -> None: ...
    def stop_accepting(self) -> None: ...
    def drain(self, code: int = 1012) -> asyncio.Future[bool]: ...
    def cancel_all(self) -> None: ...
    def abort_all(self) -> None: ...
    def close(self) -> None: ...
    def stats(self) -> dict[str, int]: ...
    @property
    def connections(self) -> int: ...
    @property
    def active(self) -> int: ...
    @property
    def task_start(self) -> str: ...
