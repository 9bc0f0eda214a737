"""Servers with several workers: their command lines, and which signals make them do what.

All run the same application from a directory of their own, whose code may be changed. What a server cannot do is None
here and "cannot" in the table. Called by `lifecycle`.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rig import servers
from rig.environment import APPS, ROOT, VENV, RigError
from rig.procs import PROC
from rig.servers import HOST, Running, Server

SUBJECT = ROOT / "tests" / "lifecycle" / "served" / "subject.py"
LOOK_SECONDS = 0.0005
APP = "bench_lifecycle:app"


@dataclass(frozen=True)
class Many:
    """One column of the table. `command` takes application, port, a private directory and the number of workers."""

    name: str
    title: str
    command: Callable[[str, int, Path, int], Sequence[str | Path]]
    reload: signal.Signals | None = None
    more: signal.Signals | None = None
    respawns: bool = True
    upgrade: signal.Signals | None = None
    retires_itself: bool = False
    """After `upgrade`, the old parent ends by itself; otherwise it has to be told to (SIGTERM)."""
    fewest: int = 1
    """With fewer workers there is no parent that could be told anything."""


def _swell(*more: str) -> Callable[[str, int, Path, int], Sequence[str | Path]]:
    def command(app: str, port: int, directory: Path, workers: int) -> Sequence[str | Path]:
        options = ["--host", HOST, "--port", str(port), "--workers", str(workers), "--loop", "uvloop", *more]
        places = ["--runtime-dir", str(directory / "run"), "--state-dir", str(directory / "state")]
        return [VENV / "bin/swell", app, *options, *places, "--no-access-log", "--log-level", "warning"]

    return command


def _uvicorn(app: str, port: int, directory: Path, workers: int) -> Sequence[str | Path]:
    options = ["--host", HOST, "--port", str(port), "--workers", str(workers), "--loop", "uvloop"]
    return [VENV / "bin/uvicorn", app, *options, "--http", "httptools", "--no-access-log", "--log-level", "warning"]


def _gunicorn(app: str, port: int, directory: Path, workers: int) -> Sequence[str | Path]:
    options = ["-k", "asgi", "--asgi-loop", "uvloop", "-w", str(workers), "-b", f"{HOST}:{port}", "--no-control-socket"]
    return [VENV / "bin/gunicorn", *options, "--keep-alive", "75", "--log-level", "warning", app]


def _granian(app: str, port: int, directory: Path, workers: int) -> Sequence[str | Path]:
    options = ["--interface", "asgi", "--host", HOST, "--port", str(port), "--workers", str(workers)]
    options += ["--loop", "uvloop", "--respawn-failed-workers", "--no-access-log", "--log-level", "warning"]
    return [VENV / "bin/granian", *options, app]


HUP, TTIN, USR2 = signal.SIGHUP, signal.SIGTTIN, signal.SIGUSR2
SERVERS = (
    Many("swell", "Swell", _swell("--spawn", "fork"), HUP, TTIN, True, USR2, True),
    Many("swell-fresh", "Swell, --spawn fresh", _swell("--spawn", "fresh"), HUP, TTIN, True, USR2, True),
    Many("uvicorn", "uvicorn --workers", _uvicorn, HUP, TTIN, fewest=2),
    Many("gunicorn", "gunicorn -k asgi", _gunicorn, HUP, TTIN, True, USR2),
    Many("granian", "granian", _granian, HUP),
)
BY_NAME = {server.name: server for server in SERVERS}


@dataclass(frozen=True)
class Start:
    """A worker has started, at `at` of CLOCK_MONOTONIC."""

    pid: int
    generation: int
    at: float


class Instance(Running):
    """A running server with several workers, and the directory that its application lies in."""

    def __init__(
        self, many: Many, process: subprocess.Popen[bytes], port: int, directory: Path, started: float
    ) -> None:
        server = Server(many.name, many.title, lambda app, port, place: many.command(app, port, place, 1))
        super().__init__(server, process, port, directory / "log")
        self.many = many
        self.directory = directory
        self.started = started

    def write(self, generation: int) -> None:
        """Changes the code; another size and another time, so that no stale bytecode is taken for it."""
        text = re.sub(r"^GENERATION = \d+$", f"GENERATION = {generation}", SUBJECT.read_text(), flags=re.M)
        (self.directory / "subject.py").write_text(text + "#" * generation + "\n")

    def starts(self) -> list[Start]:
        """Every start of a worker so far."""
        try:
            lines = (self.directory / "starts").read_text().splitlines()
        except FileNotFoundError:
            return []
        fields = (line.split() for line in lines)
        return [Start(int(pid), int(generation), float(at)) for pid, generation, at in fields]

    def wait_starts(self, count: int, seconds: float = 30.0) -> list[Start]:
        """Waits until so many workers have started in all."""
        deadline = time.monotonic() + seconds
        while len(found := self.starts()) < count:
            if self.process.poll() is not None and not self.many.upgrade:
                raise RigError(f"it ended with {self.process.returncode}: {self.complaint()}")
            if time.monotonic() > deadline:
                raise RigError(f"{len(found)} of {count} workers started within {seconds:g} s: {self.complaint()}")
            time.sleep(LOOK_SECONDS)
        return found

    def workers(self) -> list[int]:
        """Those who have started and live."""
        return [start.pid for start in self.starts() if _lives(start.pid)]


def _lives(pid: int) -> bool:
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextlib.contextmanager
def instance(many: Many, workers: int, app: str = APP) -> Iterator[Instance]:
    """Starts a server with so many workers, waits for all of them, and ends everything afterwards."""
    with TemporaryDirectory(prefix="swell-bench-") as name:
        directory = Path(name)
        port = servers.free_port()
        shutil.copy(SUBJECT, directory / "subject.py")
        for path in APPS.glob("bench_*.py"):
            shutil.copy(path, directory / path.name)
        variables = {**os.environ, "PYTHONPATH": str(directory), "BENCH_STARTS": str(directory / "starts")}
        variables.pop("WEB_CONCURRENCY", None)
        started = time.monotonic()
        with (directory / "log").open("wb") as output:
            process = subprocess.Popen(
                many.command(app, port, directory, workers),
                cwd=directory,
                env=variables,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        running = Instance(many, process, port, directory, started)
        try:
            running.wait_answering()
            if app == APP:
                running.wait_starts(workers)
            yield running
        finally:
            running.end()
