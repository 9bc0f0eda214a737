"""How our processes end: the one place that waits for children.

Workers come from a template that has forked twice; the parent is their subreaper (prctl(2), PR_SET_CHILD_SUBREAPER),
or the first process of a container, so they are its children, and so is whatever they leave behind. Used by the parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Reaper", "become_subreaper", "start_process"]

_PR_SET_CHILD_SUBREAPER = 36
# Statuses of processes that nobody has asked for yet: the news of a fork may come after the news of its end.
_UNCLAIMED_AT_MOST = 1000


def become_subreaper() -> bool:
    """Makes orphans among our descendants our children. False where the system cannot."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def start_process(command: Sequence[str], descriptors: Sequence[int], **options: Any) -> int:
    """Starts a process whose end is the reaper's to see, with these descriptors open; `options` are those of
    `subprocess.Popen`. Returns its pid. Raises `OSError`."""
    process = subprocess.Popen(command, pass_fds=descriptors, **options)
    # Nobody is to wait for it by this object.
    process.returncode = 0
    return process.pid


class Reaper:
    """Tells who has asked for a process how it ended."""

    def __init__(self) -> None:
        self._waiting: dict[int, Callable[[int], None]] = {}
        self._unclaimed: dict[int, tuple[int, float]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, ends are noticed."""
        self._loop = loop
        loop.add_signal_handler(signal.SIGCHLD, self.reap)
        self.reap()

    def stop(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.remove_signal_handler(signal.SIGCHLD)
            self._loop = None

    def expect(self, pid: int, ended: Callable[[int], None], since: float) -> None:
        """Calls `ended` with the wait status of `pid`, once. The process was started after `since` (monotonic): one
        with the same id that has ended before was another."""
        status, at = self._unclaimed.pop(pid, (0, -math.inf))
        if at >= since:
            ended(status)
        else:
            self._waiting[pid] = ended

    def reap(self) -> None:
        """Takes note of everyone who has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._waiting.pop(pid, None)
            if ended is not None:
                ended(status)
            else:
                self._unclaimed[pid] = status, time.monotonic()
                while len(self._unclaimed) > _UNCLAIMED_AT_MOST:
                    del self._unclaimed[next(iter(self._unclaimed))]
