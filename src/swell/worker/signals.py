"""SIGINT and SIGTERM: the first asks for a graceful end, the second for the end now.

Two guises, because the process lives through two phases. While the application is imported nothing is served yet, and
both signals simply interrupt (`interrupting`). While a loop runs they become a callback on it (`delivered`), which
works on asyncio and uvloop alike; when the loop does not come round to the callback because the application blocks it,
the next signal interrupts what blocks.

Used by the process in `main`; a server on somebody else's loop touches no signal.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

__all__ = ["SIGNALS", "delivered", "interrupting"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A loop that has not run the callback of a signal for so many seconds counts as blocked.
BLOCKED_AFTER = 0.5

Handler = Callable[[int, FrameType | None], None]


@contextlib.contextmanager
def interrupting(numbers: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """The signals raise `KeyboardInterrupt` in the main thread."""
    with _handled(_interrupt, numbers):
        yield


@contextlib.contextmanager
def delivered(
    loop: AbstractEventLoop,
    callback: Callable[[signal.Signals], None],
    numbers: Sequence[signal.Signals] = SIGNALS,
) -> Iterator[None]:
    """The signals call `callback` on the loop, which runs in the main thread."""
    waiting: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if waiting and now - waiting[0] > BLOCKED_AFTER:
            waiting.clear()
            loop.call_soon_threadsafe(callback, signal.Signals(number))
            raise KeyboardInterrupt
        waiting.append(now)
        loop.call_soon_threadsafe(arrive, signal.Signals(number))

    def arrive(number: signal.Signals) -> None:
        waiting.clear()
        callback(number)

    with _handled(handle, numbers):
        yield


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _handled(handler: Handler, numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """Puts the handler in, and at the end back what was there. Only the main thread may do that; others go without."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            # None is a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
