"""An instance that scales itself, and a closed loop of callers that give it something to do.

The policy's windows are short, so that a test sees in seconds what takes minutes by default. Every wait is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.kernel import wait_until
from support.link import Address, Broken, Link
from support.server import ServerProcess, serving

from lifecycle.running import SERVED
from swell.cli import scale
from swell.supervisor.control.client import Client, find

__all__ = ["SECONDS", "Callers", "Elastic", "calling", "elastic"]

SECONDS = 30.0
# Other jobs on the machine are not what most of these tests are about, and delay others.
POLICY = {
    "stable-window": "4s",
    "panic-window": "2s",
    "down-window": "3s",
    "idle-after": "1s",
    "delay": "10s",
    "host-cpu": "off",
}


class Elastic:
    """A running instance."""

    def __init__(self, server: ServerProcess, runtime: Path) -> None:
        self.server = server
        self.runtime = runtime
        self.client = Client(find(runtime_dir=str(runtime)))

    @property
    def address(self) -> Address:
        return self.server.address

    @property
    def now(self) -> str:
        """Why there are as many workers as there are."""
        return str(self.client.get("/v1/explain")["now"])

    @property
    def decisions(self) -> list[dict[str, Any]]:
        return list(self.client.get("/v1/explain?last=100")["decisions"])

    @property
    def instance(self) -> dict[str, Any]:
        return dict(self.client.status()["instance"])

    @property
    def ready(self) -> int:
        return sum(worker["state"] == "ready" for worker in self.client.status()["workers"])

    def get(self, target: str) -> bytes:
        """The body of one answer, on a connection of its own."""
        host, port = self.server.address
        with contextlib.closing(http.client.HTTPConnection(host, port, timeout=SECONDS)) as connection:
            connection.request("GET", target, headers={"connection": "close"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.status
            return answer.read()

    def scale(self, word: str) -> None:
        """`swell scale WORD`."""
        assert scale.main([word, "--runtime-dir", str(self.runtime)]) == 0

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
        try:
            wait_until(condition, what, seconds)
        except AssertionError as error:
            error.add_note(str(self))
            raise

    def wait_ready(self, count: int) -> None:
        """Until so many workers are ready, and none starts or leaves."""
        self.wait(
            lambda: [worker["state"] for worker in self.client.status()["workers"]] == ["ready"] * count,
            f"{count} ready workers",
        )

    def wait_why(self, words: str) -> None:
        self.wait(lambda: words in self.now, f"the reason {words!r}")

    def __str__(self) -> str:
        return f"now: {self.now}\n{self.server.log}"


@contextmanager
def elastic(
    workers: str,
    directory: Path,
    *options: str,
    app: str = "subject:app",
    before_start: Callable[[], None] | None = None,
    **policy: str,
) -> Iterator[Elastic]:
    """Serves with `--workers MIN..MAX` and this policy until the block ends."""
    file = directory / "policy.toml"
    parameters = POLICY | {name.replace("_", "-"): value for name, value in policy.items()}
    file.write_text("".join(f'{name} = "{value}"\n' for name, value in parameters.items()))
    places = ("--runtime-dir", str(directory / "run"), "--state-dir", str(directory / "state"))
    followed = ("--scale-policy", str(file)) if ".." in workers else ()
    options = ("--workers", workers, *followed, "--no-access-log", *places, *options)
    with serving(app, *options, directory=SERVED, before_start=before_start) as server:
        running = Elastic(server, directory / "run")
        try:
            yield running
        except BaseException as error:
            error.add_note(str(running))
            raise


class Callers:
    """So many clients, each of which asks again when it has been answered, on a new connection."""

    def __init__(self, address: Address, target: str, count: int) -> None:
        self.answered = 0
        self.broken: list[str] = []
        self._address = address
        self._request = f"GET {target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n".encode()
        self._count = count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.started = time.monotonic()
        self._thread.start()

    async def _run(self) -> None:
        await asyncio.wait_for(asyncio.gather(*(self._call() for _ in range(self._count))), 2 * SECONDS)

    async def _call(self) -> None:
        while not self._stop.is_set():
            try:
                await self.ask()
                self.answered += 1
            except Broken as broken:
                self.broken.append(str(broken))
                return

    async def ask(self) -> None:
        link = await Link.open(self._address)
        try:
            await link.send(self._request)
            head = await link.head()
            await link.body(head)
            assert head.status == 200, head
        finally:
            link.close()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "a caller got no answer"
        assert not self.broken, self.broken
        assert self.answered > self._count


@contextmanager
def calling(running: Elastic, target: str, count: int) -> Iterator[Callers]:
    """Callers during the block; each of their requests has to be answered."""
    callers = Callers(running.address, target, count)
    try:
        yield callers
    finally:
        callers.stop()
