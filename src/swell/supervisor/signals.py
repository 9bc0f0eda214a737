"""The parent's signals, from its first line to its last, without a moment in which one is lost or ends the process.

A signal that asks for the end may come at any time: while the first process is started, in the middle of an upgrade,
when all has ended and the interpreter is about to. What it does depends on how far we are:

    begin      SIGINT and SIGTERM raise `KeyboardInterrupt`: there is nothing yet to give back in order
    keep       they are kept: a child process is there, and no loop that could end it
    deliver    all of them call a function on the loop, before anything that the loop is told of later: who signals a
               whole group reaches workers as well, and what they say then is news of an end that we know of
    over       kept again for who takes this process over; else dropped, as the end is what they ask for. Later ones end
               a process that hangs

The event loop's own way (`add_signal_handler`) leaves a gap when the loop is closed, comes after what other processes
have said meanwhile, and calls the function that was there when the signal came, though it has been replaced since.
SIGCHLD is the reaper's. Made by `main`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from swell.supervisor.standin import FORWARDED

__all__ = ["Signals"]

# The end has come, and these only ask for it.
_ENDING = signal.SIGINT, signal.SIGTERM
# Who signals a process and its whole group means it once; who signals again after so many seconds sees that it hangs.
IMPATIENT_AFTER = 1.0


class Signals:
    """A context around everything that the parent does. `kept` are those that nobody has been told of."""

    def __init__(self, own_process: bool) -> None:
        """With `own_process`, nothing comes behind us but the end of the process."""
        self.kept: list[signal.Signals] = []
        self._own_process = own_process
        self._replacing = False
        self._before: dict[signal.Signals, signal._HANDLER] = {}
        self._take: Callable[[signal.Signals], None] = _interrupt

    def __enter__(self) -> Self:
        for number in _ENDING:
            self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._take = self._drop
        for number, handler in self._before.items():
            # The interpreter puts back the system's own handlers when it ends, which would change our exit code.
            last = signal.SIG_IGN if self._own_process and not self._replacing else handler
            # None is a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if last is None else last)

    def _came(self, number: int, frame: FrameType | None) -> None:
        self._take(signal.Signals(number))

    def keep(self) -> None:
        """From now on they wait for `deliver`, or for who replaces this program."""
        self._take = self.kept.append

    def deliver(self, loop: AbstractEventLoop, act: Callable[[signal.Signals], object]) -> None:
        """From now on they call `act` on the loop; those that were kept do so at once."""

        def take(number: signal.Signals) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed by an error
                loop.call_soon_threadsafe(act, number)

        for number in FORWARDED:
            if number not in self._before:
                self._before[number] = signal.signal(number, self._came)
        self._take = take
        while self.kept:
            act(self.kept.pop(0))

    def over(self, code: int) -> None:
        """All has ended. `code` is the exit code."""
        since = time.monotonic()

        def take(number: signal.Signals) -> None:
            if number in _ENDING and time.monotonic() - since > IMPATIENT_AFTER:
                os._exit(code)

        self._take = take if self._own_process else self._drop

    def replacing(self) -> None:
        """Another program is about to take this process over: what is kept, and what is blocked, is for that one."""
        self._replacing = True
        self.keep()

    def _drop(self, number: signal.Signals) -> None:
        pass


def _interrupt(number: signal.Signals) -> None:
    raise KeyboardInterrupt
