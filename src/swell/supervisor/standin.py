"""The process that the outside waits for, once another one serves in its place.

A shell, a container or a service manager knows a server by the process that it has started, and takes that one's end
for the server's. So the first parent outlives its upgrades: it passes signals on to the parent that serves now, takes
in orphans, and ends when the last parent has ended, with the exit code of the one that served last. There is at most
one such process, whatever the number of upgrades. Parents that come later report to it on a socket, one line each:

    parent PID          PID serves from now on
    ended PID STATUS    PID has ended with this wait status; its own parent says so, who still finishes requests

`Line` is used by `upgrade` while the old parent finishes; `become` then replaces the whole process by a bare
interpreter that runs this file, which therefore imports nothing of Swell. Its arguments are read by whatever version
is installed when that happens: they must not change.

    python -I -S standin.py DESCRIPTOR PID...
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FORWARDED", "Line", "become", "block_signals"]

FORWARDED = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU))
# Everybody who still finishes something hears of these, not only the parent that serves.
_ENDING = (signal.SIGTERM, signal.SIGINT)


class Line:
    """The parents that have come after each other. `code` is the exit code of the last one that has ended."""

    def __init__(self, reports: int, parents: Iterable[int]) -> None:
        """`reports` is our end of the socket; the last of `parents` serves."""
        os.set_blocking(reports, False)
        self.reports = reports
        self.living = list(parents)
        self.current = self.living[-1]
        self.code = 0
        self._unread = b""

    @property
    def over(self) -> bool:
        """Whether all have ended."""
        return not self.living

    def hear(self) -> None:
        """Reads what has been reported."""
        while True:
            try:
                data = os.read(self.reports, 4096)
            except OSError:
                break
            if not data:
                break
            self._unread += data
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            match line.split():
                case [b"parent", pid]:
                    self.current = int(pid)
                    self.living.append(self.current)
                case [b"ended", pid, status]:
                    self.ended(int(pid), int(status))

    def ended(self, pid: int, status: int) -> None:
        """Takes note of an end, of whichever process."""
        if pid not in self.living:
            return
        # It may have reported its successor just before.
        self.hear()
        if pid in self.living:
            self.living.remove(pid)
        if pid == self.current:
            self.code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _miss(self) -> None:
        """Those who have ended without a trace, because who would have reported it has died before."""
        for pid in list(self.living):
            if not _exists(pid):
                self.ended(pid, 1 << 8)

    def forward(self, number: int) -> None:
        """Passes a signal on."""
        self.hear()
        for pid in self.living if number in _ENDING else [self.current]:
            try:  # noqa: SIM105 - contextlib would make this process a quarter larger
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def reap(self) -> None:
        """Takes note of all children that have ended, which orphans are too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self.ended(pid, status)
        self.hear()
        self._miss()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def become(line: Line) -> int:
    """Stands in from now on. Does not return, unless the interpreter cannot be started: then with the exit code.

    The caller has blocked the signals already if its handlers are gone.
    """
    block_signals()
    os.set_inheritable(line.reports, True)
    line.hear()
    words = [sys.executable, "-I", "-S", os.path.abspath(__file__), str(line.reports)]
    # The one that serves is the last.
    others = [pid for pid in line.living if pid != line.current]
    if not line.over and line.current in line.living and os.access(words[3], os.R_OK):
        try:  # noqa: SIM105 - it waits for as long as the server runs, with as little as possible loaded
            os.execv(sys.executable, [*words, *map(str, others), str(line.current)])  # noqa: S606 - no shell is wanted
        except OSError:
            pass  # the interpreter has been removed: this one is still here
    return _stand(line)


def block_signals() -> None:
    """From now on they wait to be asked for: none is lost, none ends us. A program that is executed inherits it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})


def _stand(line: Line) -> int:
    while True:
        line.hear()
        line.reap()
        if line.over:
            return line.code
        number = signal.sigwait({*FORWARDED, signal.SIGCHLD})
        if number in FORWARDED:
            line.forward(number)


def main(arguments: list[str]) -> int:
    """The entry of the process."""
    block_signals()
    reports, *parents = map(int, arguments)
    return _stand(Line(reports, parents))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
