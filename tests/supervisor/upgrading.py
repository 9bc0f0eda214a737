"""A server that is upgraded: started like a person's, with the application under the steady load in a directory that a
test can write to."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lifecycle.running import SERVED
from support.server import ServerProcess
from worker.launching import launched, wait_listening

__all__ = ["Upgraded", "alive", "serving_for_upgrade", "tree", "until"]

SECONDS = 30.0
APPLICATION = (SERVED / "subject.py").read_text()


def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Waits for a condition of the system, which nobody announces."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether it runs: a zombie does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def tree(pid: int) -> list[int]:
    """The processes below, in no order."""
    found = []
    with contextlib.suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            found += [child, *tree(child)]
    return found


class Upgraded:
    """The server. `parent` is the process that holds the workers now, `server` what was started."""

    def __init__(self, server: ServerProcess, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.parent = server.pid

    def write(self, text: str) -> None:
        (self.directory / "subject.py").write_text(text)

    def write_generation(self, number: int) -> None:
        self.write(APPLICATION.replace("GENERATION = 1", f"GENERATION = {number}"))

    def upgrade(self, to: int | None = None) -> int:
        """Asks for an upgrade and waits for it. Returns the new parent."""
        mark = self.server.mark()
        os.kill(self.parent if to is None else to, signal.SIGUSR2)
        found = self.server.wait_for_log(r"pid (\d+) serves now", SECONDS, since=mark)
        self.parent = int(found[1])
        return self.parent

    def fail_to_upgrade(self) -> str:
        """Asks for one and waits for its failure. Returns the line that tells it."""
        mark = self.server.mark()
        os.kill(self.parent, signal.SIGUSR2)
        return self.server.wait_for_log(r"ERROR: (the upgrade has failed, .*)", SECONDS, since=mark)[1]

    @property
    def command(self) -> str:
        """The command line of the process that was started."""
        return Path(f"/proc/{self.server.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()

    def wait_standing_in(self) -> None:
        """Until nothing is left of the first parent but somebody who waits for the next."""
        until(lambda: "standin.py" in self.command, f"standing in, instead of {self.command}")

    @property
    def instance(self) -> Path:
        """The instance's directory."""
        (found,) = (entry for entry in (self.directory / "run").iterdir() if entry.is_dir())
        return found

    def swell(self, *words: str) -> str:
        """What a command says."""
        command = [*Path(f"/proc/{os.getpid()}/cmdline").read_text().split("\0")[:1], "-m", "swell", *words]
        runtime = ["--runtime-dir", str(self.directory / "run")]
        done = subprocess.run([*command, *runtime], capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self, code: int = 0, number: signal.Signals = signal.SIGTERM, tracebacks: int = 0) -> None:
        """Ends it the way the outside does, and sees to it that nothing is left."""
        everybody = tree(self.server.pid)
        self.server.process.send_signal(number)
        assert self.server.wait_for_end(SECONDS) == code, self.server.log
        left = [pid for pid in everybody if alive(pid)]
        assert not left, f"{left} outlived the server\n{self.server.log}"
        assert re.search(r"ResourceWarning|please report|never retrieved", self.server.log) is None, self.server.log
        assert self.server.log.count("Traceback") == tracebacks, self.server.log


@contextmanager
def serving_for_upgrade(
    directory: Path,
    *options: str,
    workers: int | None = 1,
    application: str = APPLICATION,
    environment: Mapping[str, str] | None = None,
    listen: tuple[str, ...] = ("--port", "0"),
) -> Iterator[Upgraded]:
    (directory / "subject.py").write_text(application)
    runtime = ("--runtime-dir", str(directory / "run"))
    words = ("subject:app", *listen, *runtime, "--no-access-log", "--loop", "asyncio")
    count = () if workers is None else ("--workers", str(workers))
    with launched(*words, *count, *options, directory=directory, environment=environment, new_group=True) as server:
        upgraded = Upgraded(server, directory)
        server.port = wait_listening(server)
        until(lambda: server.log.count("is ready after") == (workers or 1), "all workers are ready")
        yield upgraded
