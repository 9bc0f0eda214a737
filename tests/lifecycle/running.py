"""An instance of Swell with the application of `served/subject.py`, to reload, scale, kill and end under load.

Its workers are read from the scoreboard, so that nothing is asked of those who are being killed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from support.kernel import wait_until
from support.link import Address
from support.server import ServerProcess, serving

from swell._core import Scoreboard

__all__ = ["SERVED", "Instance", "alive", "bounded", "instance"]

SERVED = Path(__file__).parent / "served"
SOURCE = "subject.py"
COMMAND_SECONDS = 30.0


class Instance:
    """A parent and its workers. `directory` holds the application's own copy of its code. `endpoint` is its
    `address`, or the path of its Unix socket."""

    def __init__(self, server: ServerProcess, directory: Path, runtime: Path, endpoint: Address) -> None:
        self.server = server
        self.directory = directory
        self.runtime = runtime
        self.address = server.address
        self.endpoint = endpoint
        (self.path,) = (path.parent for path in runtime.glob("*/scoreboard"))
        self.board = Scoreboard(str(self.path / "scoreboard"))

    # The code

    def write(self, generation: int) -> None:
        """Changes the code: what it answers with, and the file's size and time, by which bytecode is told apart."""
        source = (SERVED / SOURCE).read_text()
        changed, count = re.subn(r"^GENERATION = \d+$", f"GENERATION = {generation}", source, flags=re.M)
        assert count == 1
        self.write_text(changed + "#" * generation + "\n")

    def write_text(self, text: str) -> None:
        path = self.directory / SOURCE
        beside = path.with_suffix(".new")
        beside.write_text(text)
        beside.replace(path)

    # Commands and signals

    def command(self, *words: str, code: int = 0) -> str:
        """Runs `swell WORDS` for this instance and returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "swell", *words, "--runtime-dir", str(self.runtime)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == code, f"swell {' '.join(words)}: exit code {done.returncode}: {done.stdout}\n{self}"
        return done.stdout

    def signal(self, number: signal.Signals) -> None:
        self.server.process.send_signal(number)

    # The workers

    def workers(self, *states: str) -> list[dict[str, Any]]:
        """The slots that are taken, in the order of their workers; those in one of the states, if any are given."""
        slots = (self.board.read(slot) for slot in range(self.board.slots))
        taken = [slot for slot in slots if slot["state"] != "empty" and (not states or slot["state"] in states)]
        return sorted(taken, key=lambda slot: int(slot["worker"]))

    def pids(self, *states: str) -> list[int]:
        return [slot["pid"] for slot in self.workers(*states) if slot["pid"]]

    def wait_workers(self, count: int, *, generation: int | None = None, seconds: float = 20.0) -> list[dict[str, Any]]:
        """Waits until there are so many workers, all ready, and of this generation of the code."""
        found: list[dict[str, Any]] = []

        def settled() -> bool:
            found[:] = self.workers()
            wanted = [slot for slot in found if generation in (None, slot["generation"])]
            return len(found) == len(wanted) == count and all(slot["state"] == "ready" for slot in found)

        try:
            wait_until(settled, f"{count} ready workers", seconds)
        except AssertionError as error:
            error.add_note(str(self))
            raise
        return found

    def __str__(self) -> str:
        shown = ("worker", "generation", "pid", "state", "connections", "in_flight", "requests")
        rows = [", ".join(f"{key} {slot[key]}" for key in shown) for slot in self.workers()]
        return "\n".join(["workers:", *rows, "log:", self.server.log])


@contextmanager
def instance(
    *options: str,
    workers: int = 4,
    environment: Mapping[str, str] | None = None,
    loop: str = "asyncio",
    unix: bool = False,
) -> Iterator[Instance]:
    """Serves until the block ends, then judges the log and the exit code. A `unix` socket is one for all workers."""
    with ExitStack() as stack:
        directory, runtime = (Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="swell-"))) for _ in range(2))
        shutil.copy(SERVED / SOURCE, directory / SOURCE)
        places = ("--runtime-dir", str(runtime), "--state-dir", str(runtime / "state"))
        listen = ("--uds", str(runtime / "socket")) if unix else ("--host", "127.0.0.1", "--port", "0")
        server = stack.enter_context(
            serving(
                "subject:app",
                *("--workers", str(workers), "--no-access-log", *places, *options),
                directory=directory,
                loop=loop,
                environment=environment,
                listen=listen,
            )
        )
        running = Instance(server, directory, runtime, listen[1] if unix else server.address)
        try:
            running.wait_workers(int(workers))  # it listens when the first is ready
            yield running
        except BaseException as error:
            error.add_note(str(running))
            raise
        before = running.pids()
        server.stop()
        wait_until(lambda: not any(map(alive, before)), f"all of {before} have ended with their parent")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def bounded(seconds: float, since: float) -> None:
    """Asserts that no more time has gone by."""
    took = time.monotonic() - since
    assert took <= seconds, f"it took {took:.2f} s, at most {seconds} s are allowed"
