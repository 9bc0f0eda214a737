"""An instance of `served/told.py`, and the commands that ask it how it is doing."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.kernel import wait_until
from support.server import ServerProcess, serving

from lifecycle.running import SERVED

__all__ = ["Told", "told"]

SECONDS = 30.0


class Told:
    """`server` is its process."""

    def __init__(self, server: ServerProcess, runtime: Path) -> None:
        self.server = server
        self.runtime = runtime
        self.address = server.address

    def line(self, *words: str) -> list[str]:
        """The command line of `swell WORDS` for this instance."""
        return [sys.executable, "-m", "swell", *words, "--runtime-dir", str(self.runtime)]

    def command(self, *words: str, code: int = 0) -> str:
        """Runs it and returns what it printed."""
        done = subprocess.run(
            self.line(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, f"{words}: exit code {done.returncode}: {done.stdout}\n{self.server.log}"
        return done.stdout

    def get(self, path: str) -> bytes:
        """The body of the answer."""
        connection = http.client.HTTPConnection(*self.address, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read()

    def get_many(self, path: str, number: int) -> None:
        """So many, on one connection; each has to be answered in time."""
        connection = http.client.HTTPConnection(*self.address, timeout=SECONDS)
        with contextlib.closing(connection):
            for _ in range(number):
                connection.request("GET", path)
                connection.getresponse().read()

    def wait_in(self, line: str) -> None:
        """Until this request's first step is running, as the scoreboard has it."""

        def is_in() -> bool:
            workers = json.loads(self.command("status", "--json"))["workers"]
            return any(worker["current"] and worker["current"]["line"] == line for worker in workers)

        wait_until(is_in, f"a worker is in {line}", SECONDS)


@contextmanager
def told(*options: str, loop: str = "asyncio", app: str = "told:app") -> Iterator[Told]:
    """Serves until the block ends. One worker, unless the options say otherwise."""
    with tempfile.TemporaryDirectory(prefix="swell-") as runtime:
        places = ("--runtime-dir", runtime, "--state-dir", f"{runtime}/state", "--timeout-graceful-shutdown", "2s")
        with serving(app, *places, *options, directory=SERVED, loop=loop) as server:
            server.wait_for_log("worker 1 .* is ready")
            yield Told(server, Path(runtime))
