"""A server process for a test: started on a free port, stopped with SIGTERM, its log kept and judged.

The tests know nothing of the server but its command line, the address in its log and its exit code, so the same suite
runs against another server of the same command line: `SERVER_UNDER_TEST=uvicorn pytest tests/apps` tells whether a
failure is the test's fault or ours.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from support.server import QUIET

T = TypeVar("T")

SERVER = os.environ.get("SERVER_UNDER_TEST", "swell")
COMMAND = "{python} -m {server} {app} --app-dir {directory} --host 127.0.0.1 --port {port} --loop {loop}"
CLEAN_EXIT = {"swell": 0, "uvicorn": -signal.SIGTERM}  # uvicorn ends itself with the signal that stopped it
SERVED = Path(__file__).parent / "served"

START_SECONDS = 30.0  # importing a framework on a busy machine
STOP_SECONDS = 15.0
SCENARIO_SECONDS = 30.0


class RunningServer:
    """One server process. `log` grows while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port = 0
        self.log: list[str] = []
        self.expected_errors: set[str] = set()
        self.closing: list[Callable[[], None]] = []  # called once the server has ended
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def expect_error(self, name: str) -> None:
        """The application is going to raise this exception: its traceback in the log is right."""
        self.expected_errors.add(name)

    def wait_for_log(self, pattern: str, seconds: float = STOP_SECONDS) -> re.Match[str]:
        """The first log line that matches, now or later."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(match for line in self.log if (match := re.search(pattern, line)))
            return bool(found) or not self._reader.is_alive()

        with self._changed:
            self._changed.wait_for(look, seconds)
        assert found, f"no log line matches {pattern!r}:\n{''.join(self.log)}"
        return found[0]

    def stop(self) -> None:
        """SIGTERM, then judge: a clean exit code and no traceback but the expected ones."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()
            self._reader.join(STOP_SECONDS)
            for close in self.closing:
                close()
        log = "".join(self.log)
        assert code == CLEAN_EXIT.get(SERVER, 0), f"exit code {code}:\n{log}"
        for error in self.expected_errors:
            assert error in log, f"{error} is missing from the log:\n{log}"
        raised = re.findall(
            r"^[ |+]*((?:\w+\.)*\w*(?:Error|Exception|Warning|Group|Exit|Cancelled))\b(?=:|$)", log, re.M
        )
        unexpected = [name for name in raised if name.rpartition(".")[2] not in self.expected_errors]
        assert not unexpected, f"{unexpected} in the log:\n{log}"
        assert self.expected_errors or "Traceback" not in log, log

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.log.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@contextmanager
def running(
    app: str,
    loop: str = "asyncio",
    *options: str,
    directory: Path = SERVED,
    port: int = 0,
    env: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """Serve `app` until the block ends."""
    fields = {
        "python": sys.executable,
        "server": SERVER,
        "app": app,
        "directory": directory,
        "port": port,
        "loop": loop,
    }
    with running_command([*COMMAND.format(**fields).split(), *options], env=env) as server:
        yield server


@contextmanager
def running_command(
    command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """A server started by this very command, until the block ends."""
    environment = {**os.environ, **QUIET, **(env or {})}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment, cwd=cwd
    ) as process:
        server = RunningServer(process)
        try:
            server.port = int(server.wait_for_log(r"http://127\.0\.0\.1:(\d+)", START_SECONDS)[1])
            yield server
        except BaseException:
            process.kill()
            raise
        server.stop()


def run_bounded(scenario: Coroutine[Any, Any, T]) -> T:
    """Run an asynchronous client scenario to its end, or fail when it takes too long."""

    async def bounded() -> T:
        async with asyncio.timeout(SCENARIO_SECONDS):
            return await scenario

    return asyncio.run(bounded())
