"""One worker as a child process: how it is started, and how it is made to end.

Its end is bounded, whatever the application does. Knows neither files nor reasons; `reload` decides.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from socket import socket, socketpair

from swell.config import Config
from swell.worker.child import Parcel

__all__ = ["Child"]

# The worker bounds its own end: requests, cancelled requests, lifespan, threads. This is beyond them, in seconds.
BEYOND_GRACE = 6.0
# A signal that goes to the whole group, as Ctrl-C does, has reached the child by itself in this time, in seconds.
SAME_SIGNAL = 0.3


class Child:
    """A running worker."""

    def __init__(self, config: Config, sockets: Sequence[socket]) -> None:
        self._grace = config.timeout_graceful_shutdown
        self._lifeline, other = socketpair()
        parcel = Parcel(config, sys.argv, sys.path)
        with other, tempfile.TemporaryFile() as file:
            pickle.dump(parcel, file)
            file.flush()
            file.seek(0)
            passed = (file.fileno(), other.fileno(), *(listener.fileno() for listener in sockets))
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
            # -P: the current directory is not to lead the import path while Swell itself is imported.
            command = [sys.executable, *flags, "-P", "-m", "swell.worker.child", *map(str, passed)]
            try:
                self._process = subprocess.Popen(command, pass_fds=passed)
            except BaseException:
                self._lifeline.close()
                raise
        self._watches_lifeline = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code once it has ended: as of `subprocess`, negative for a signal."""
        return self._process.poll()

    def stop(self, *, told: bool, hurried: Callable[[], bool]) -> int:
        """Ends the child gracefully, and when `hurried` becomes true or the time is over, at once.

        `told` means that the child may have got the signal that we got.
        """
        if told and self._is_watching():
            # Closing the lifeline asks for the same end once more, which changes nothing; a signal would hurry it.
            self._lifeline.close()
        elif not told or not self._wait(SAME_SIGNAL, lambda: False):
            self._signal(signal.SIGTERM)
        if not self._wait(None if self._grace is None else 2 * self._grace + BEYOND_GRACE, hurried):
            self._signal(signal.SIGTERM)
            if not self._wait(BEYOND_GRACE, lambda: False):
                self._process.kill()
        code = self._process.wait()
        self.close()
        return code

    def close(self) -> None:
        """Gives the lifeline back, which also ends a child that still runs."""
        self._lifeline.close()

    def _is_watching(self) -> bool:
        if not self._watches_lifeline:
            with contextlib.suppress(OSError):
                self._lifeline.setblocking(False)
                self._watches_lifeline = bool(self._lifeline.recv(1))
        return self._watches_lifeline

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def _wait(self, seconds: float | None, hurried: Callable[[], bool]) -> bool:
        end = None if seconds is None else time.monotonic() + seconds
        while not hurried() and (end is None or time.monotonic() < end):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
                return True
        return self._process.poll() is not None
