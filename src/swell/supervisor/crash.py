"""What the end of a worker says, and how soon another one may be started. Pure: no processes, no clock.

Called by the parent.
"""

from __future__ import annotations

import os
import signal
from collections import deque

__all__ = ["CRASH_SIGNALS", "StartPolicy", "describe_end", "ended_by", "exit_code_of"]

# Workers that fail before they are ready: the next one is tried after 0.5 s, then 1, 2, 4, ... s, at most this.
BACKOFF_FIRST, BACKOFF_MAX = 0.5, 30.0
# Workers that were ready and die: so many in so many seconds are replaced at once, further ones with a pause.
CRASHES_AT_ONCE, CRASH_WINDOW = 10, 10.0
# Failed starts in a row with nobody left who serves: what runs Swell has to know.
FAILED_STARTS_AT_MOST = 10


# What the processor or the process itself ends it with.
CRASH_SIGNALS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)


def ended_by(status: int | None) -> int | None:
    """The number of the signal, or None when none ended it."""
    return os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None


def describe_end(status: int | None, out_of_memory: bool = False) -> str:
    """A wait status in words, `None` for one that nobody got: `exit code 3`, `SIGKILL (killed from outside)`.

    With `out_of_memory`, the kernel has killed somebody for want of memory.
    """
    if status is None:
        return "an end that left no trace"
    if not os.WIFSIGNALED(status):
        return f"exit code {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    meanings: dict[int, str] = {
        signal.SIGSEGV: "a crash in native code",
        signal.SIGBUS: "a crash in native code",
        signal.SIGILL: "a crash in native code",
        signal.SIGFPE: "a crash in native code",
        signal.SIGABRT: "native code gave up",
        signal.SIGKILL: "killed by the kernel: out of memory" if out_of_memory else "killed from outside",
    }
    return f"{name} ({meanings[number]})" if number in meanings else name


def exit_code_of(status: int | None) -> int | None:
    """The exit code, or None when a signal ended it."""
    return None if status is None or os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


class StartPolicy:
    """Keeps a worker that cannot live from being started again and again without a pause."""

    def __init__(self) -> None:
        self._failed = 0
        self._crashes: deque[float] = deque(maxlen=CRASHES_AT_ONCE)
        self._not_before = 0.0

    @property
    def failed_starts(self) -> int:
        """In a row."""
        return self._failed

    @property
    def hopeless(self) -> bool:
        """So many starts have failed in a row that waiting longer is not going to help."""
        return self._failed >= FAILED_STARTS_AT_MOST

    def was_ready(self) -> None:
        """A worker has started."""
        self._failed = 0

    def failed_to_start(self, now: float) -> None:
        """A worker ended before it was ready."""
        self._failed += 1
        self._pause(now, BACKOFF_FIRST * 2 ** (self._failed - 1))

    def crashed(self, now: float) -> None:
        """A worker ended that had been ready."""
        if len(self._crashes) == CRASHES_AT_ONCE and now - self._crashes[0] < CRASH_WINDOW:
            self._pause(now, CRASH_WINDOW / CRASHES_AT_ONCE)
        self._crashes.append(now)

    def wait(self, now: float) -> float:
        """Seconds until the next worker may be started; 0 is at once."""
        return max(0.0, self._not_before - now)

    def _pause(self, now: float, seconds: float) -> None:
        self._not_before = max(self._not_before, now + min(seconds, BACKOFF_MAX))
