"""A real `swell` process for a test: a free port, its log, SIGTERM at the end, and a judgement of how it ended.

Knows nothing of the server but its command line, the address in its log and its exit code. Every wait is bounded.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["QUIET", "START_SECONDS", "STOP_SECONDS", "ServerProcess", "serving", "with_tests"]

START_SECONDS = 30.0  # importing an application on a busy machine
STOP_SECONDS = 15.0

# On a machine with much to do any turn of an event loop may take long: only tests of that want to read of it.
QUIET = {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "SWELL_SLOW_CALLBACK": "off"}

# The end of a traceback: the line with the exception.
_RAISED = re.compile(
    r"^[ |+]*((?:\w+\.)*\w*(?:Error|Exception|Warning|Group|Exit|Cancelled|Disconnected?))\b(?=:|$)", re.M
)


def with_tests() -> dict[str, str]:
    """The environment of a process whose modules import what tests are made of."""
    return {"PYTHONPATH": os.pathsep.join(sys.path)}


class ServerProcess:
    """One server process. Its log grows while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port = 0
        self.expected_errors: set[str] = set()
        self.expected_code = 0
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The parent's."""
        return self.process.pid

    @property
    def worker(self) -> int:
        """The process that serves: the worker that was ready last."""
        return int(re.findall(r"worker \d+ \(pid (\d+)\) is ready", self.log)[-1])

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def log(self) -> str:
        """Everything that was written so far."""
        with self._changed:
            return "".join(self._lines)

    def expect_error(self, name: str) -> None:
        """The application is going to raise this exception: its traceback in the log is right."""
        self.expected_errors.add(name)

    def mark(self) -> int:
        """The present end of the log, for `wait_for_log(since=…)` and `log_since`."""
        with self._changed:
            return len(self._lines)

    def log_since(self, mark: int) -> list[str]:
        with self._changed:
            return self._lines[mark:]

    def wait_for_log(self, pattern: str, seconds: float = STOP_SECONDS, *, since: int = 0) -> re.Match[str]:
        """The first line from `since` on that matches, now or later."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(match for line in self._lines[since:] if (match := re.search(pattern, line)))
            return bool(found) or not self._reader.is_alive()

        with self._changed:
            self._changed.wait_for(look, seconds)
        assert found, f"no log line matches {pattern!r}:\n{self.log}"
        return found[0]

    def signal_again(self, number: signal.Signals, send: Callable[[int, int], None] = os.kill) -> None:
        """The second signal, until it is taken for one: right after the first it counts as the same."""
        deadline = time.monotonic() + STOP_SECONDS
        while "again: ending now" not in self.log:
            assert time.monotonic() < deadline, self.log
            send(self.pid, number)
            with contextlib.suppress(AssertionError):
                self.wait_for_log("again: ending now", 0.2)

    def wait_for_end(self, seconds: float = STOP_SECONDS) -> int:
        """The exit code of a server that ends by itself, or was told to."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def stop(self) -> None:
        """SIGTERM, then judge: the expected exit code, no traceback but the expected ones, nothing to report."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.wait_for_end()
        finally:
            self.process.kill()
        log = self.log
        assert code == self.expected_code, f"exit code {code}:\n{log}"
        assert "please report" not in log, log
        for error in self.expected_errors:
            assert error in log, f"{error} is missing from the log:\n{log}"
        unexpected = [name for name in _RAISED.findall(log) if name.rpartition(".")[2] not in self.expected_errors]
        assert not unexpected, f"{unexpected} in the log:\n{log}"
        assert self.expected_errors or "Traceback" not in log, log

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@contextmanager
def serving(
    app: str,
    *options: str,
    directory: Path,
    loop: str = "asyncio",
    listen: Sequence[str] = ("--host", "127.0.0.1", "--port", "0"),
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    before_start: Callable[[], None] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[ServerProcess]:
    """Serves `app` from `directory` until the block ends. `prefix` is a command that runs the server's."""
    command = [*prefix, sys.executable, "-m", "swell", app, "--app-dir", str(directory), "--loop", loop]
    process = subprocess.Popen(
        [*command, *listen, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **QUIET, **(environment or {})},
        preexec_fn=before_start,
        pass_fds=pass_fds,
        start_new_session=True,  # so that a failed test leaves no workers behind, which would keep the log open
    )
    with process:
        server = ServerProcess(process)
        try:
            found = server.wait_for_log(r"listening on (?:https?://[^\s]*?:(\d+)|\S+)", START_SECONDS)
            server.port = int(found[1] or 0)
            yield server
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        server.stop()
