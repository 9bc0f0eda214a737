"""An instance without workers: it answers the control socket as the parent does, and keeps what it was told.

`running(root)` serves one from a thread of this process; `process(root, name, word)` is one as a process of its own,
which `word` tells how to misbehave.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from support.readings import slot
from support.server import with_tests
from swell import __version__
from swell.errors import StartupError
from swell.supervisor.control.app import ControlApplication
from swell.supervisor.control.protocol import CommandFailed, Wanted
from swell.supervisor.control.server import ControlServer
from swell.supervisor.instance import InstanceDirectory

__all__ = ["SECONDS", "FakeInstance", "Running", "process", "running", "serving", "worker"]

SECONDS = 20.0


def worker(number: int, **values: Any) -> dict[str, Any]:
    """One worker of the status document, with all keys of a slot of the scoreboard."""
    histogram = [0] * 32
    return {
        **slot(),
        "slot": number,
        "id": number,
        "worker": number,
        "generation": 1,
        "pid": 40_000 + number,
        "state": "ready",
        "age": 3725.5,
        "cause": "",
        "requests": 123_456,
        "in_flight": 3,
        "connections": 64,
        "busy_samples": 40,
        "samples": 100,
        "latency": [*histogram[:10], 96, 4, *histogram[12:]],
        "rss_bytes": 41 << 20,
        "current": None,
        "waiting": [],
        **values,
    }


class FakeInsight:
    """Answers with what it was asked."""

    def __init__(self, calls: list[tuple[object, ...]]) -> None:
        self._calls = calls

    async def dump(self, worker: int | None) -> dict[str, Any]:
        self._calls.append(("dump", worker))
        return {"worker": worker}

    async def tasks(self, worker: int | None) -> dict[str, Any]:
        self._calls.append(("tasks", worker))
        task = {"id": 1, "name": "Task-1", "state": "waiting", "request": None, "age": None, "awaited_by": []}
        return {"worker": worker, "answered": True, "tasks": [{**task, "coroutine": "work", "stack": []}]}

    async def profile(self, worker: int | None, seconds: float, hz: int, memory: bool) -> dict[str, Any]:
        self._calls.append(("profile", worker, seconds, hz, memory))
        return {"worker": worker, "unit": "samples", "frames": [], "stacks": []}

    async def profile_page(self, worker: int | None, seconds: float, hz: int, memory: bool) -> dict[str, Any]:
        self._calls.append(("profile_page", worker, seconds, hz, memory))
        hot = {"function": "work", "file": "/srv/shop/orders.py", "line": 12, "own": 0.6, "total": 0.7}
        return {"worker": worker, "unit": "samples", "text": "120 samples", "profile": 7, "hottest": [hot]}

    def flame(self, profile: int) -> str | None:
        return "<!doctype html><title>a flame graph</title>" if profile == 7 else None

    async def logs(self, wanted: Wanted) -> AsyncIterator[bytes]:
        self._calls.append(("logs", wanted))
        yield json.dumps({"worker": 1, "lost": 0, "lines": ["a line"]}).encode() + b"\n"


class FakeInstance:
    """`calls` is what it was told. `hold` is waited for by every command but stop; `fail` is what they raise."""

    def __init__(self, name: str = "main-8000") -> None:
        self.calls: list[tuple[object, ...]] = []
        self.insight = FakeInsight(self.calls)
        self.workers = [worker(1), worker(2, state="starting", cause="replaces worker 0, which was killed by SIGKILL")]
        self.instance: dict[str, Any] = {
            "name": name,
            "pid": os.getpid(),
            "version": __version__,
            "started": time.time() - 90,
            "app": "main:app",
            "addresses": ["http://127.0.0.1:8000"],
            "min": 1,
            "max": 8,
            "target": 2,
            "generation": 1,
            "spawn": "fork",
            "state": "running",
        }
        self.decisions: list[dict[str, Any]] = []
        self.now = "2 workers, because the loops are half idle."
        self.outlook: dict[str, Any] = {"recorded": False, "at": time.time(), "text": "nothing is recorded yet"}
        self.hold: asyncio.Event | None = None
        self.begun = asyncio.Event()
        self.ended: list[str] = []
        self.fail: Exception | None = None
        self.on_end: Callable[[], None] = lambda: None
        self.on_command: Callable[[], None] = lambda: None

    def status(self) -> dict[str, Any]:
        return {"instance": dict(self.instance), "workers": [dict(one) for one in self.workers]}

    def explain(self, last: int) -> dict[str, Any]:
        self.calls.append(("explain", last))
        return {"now": self.now, "decisions": self.decisions[-last:]}

    def forecast(self) -> dict[str, Any]:
        return self.outlook

    async def scale(self, minimum: int | None, maximum: int | None, count: int | None) -> dict[str, Any]:
        return await self._told("scale", minimum, maximum, count)

    async def reload(self) -> dict[str, Any]:
        return await self._told("reload")

    async def restart(self, worker: int) -> dict[str, Any]:
        return await self._told("restart", worker)

    async def drain(self) -> dict[str, Any]:
        answer = await self._told("drain")
        self.on_end()
        return answer

    async def stop(self, now: bool) -> dict[str, Any]:
        answer = await self._told("stop", now)
        self.on_end()
        return answer

    async def _told(self, command: str, *arguments: object) -> dict[str, Any]:
        self.calls.append((command, *arguments))
        self.begun.set()
        self.on_command()
        if self.fail is not None:
            raise self.fail
        if self.hold is not None:
            await self.hold.wait()
        self.ended.append(command)
        return {"text": f"{command} {' '.join(map(str, arguments))}: done".replace(" :", ":")}


@asynccontextmanager
async def serving(instance: FakeInstance, directory: InstanceDirectory) -> AsyncIterator[ControlServer]:
    """The control socket on the running loop."""
    assert directory.listener is not None
    server = ControlServer(ControlApplication(instance), directory.listener)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


class Running:
    """A fake instance whose loop runs in a thread."""

    def __init__(self, root: Path, name: str, control: str) -> None:
        self.directory = InstanceDirectory.claim(root, "main-8000", name, control)
        self._ready: queue.Queue[FakeInstance] = queue.Queue()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self.instance = self._ready.get(timeout=SECONDS)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        instance = FakeInstance(self.directory.name)
        instance.instance["pid"] = 0  # no process of its own that could be watched
        instance.on_end = self._end.set
        async with serving(instance, self.directory):
            self._ready.put(instance)
            await self._end.wait()
        self.directory.close()

    def call(self, work: Callable[[], object]) -> None:
        """Does something on its loop."""
        self._loop.call_soon_threadsafe(work)

    def close(self) -> None:
        if self._thread.is_alive():
            self.call(self._end.set)
            self._thread.join(SECONDS)
        assert not self._thread.is_alive()


@contextmanager
def running(root: Path, name: str = "", control: str = "auto") -> Iterator[Running]:
    one = Running(root, name, control)
    try:
        yield one
    finally:
        one.close()


@contextmanager
def process(root: Path, name: str, word: str = "") -> Iterator[subprocess.Popen[str]]:
    """Ready when it is given out, killed at the end."""
    command = [sys.executable, "-m", "support.instance", str(root), name, word]
    environ = {**os.environ, **with_tests()}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


async def _main(root: Path, name: str, word: str) -> None:
    directory = InstanceDirectory.claim(root, "main-8000", name)
    instance = FakeInstance(directory.name)
    end = asyncio.Event()
    instance.on_end = end.set
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    match word:
        case "dies":
            instance.on_command = lambda: os._exit(9)
        case "hangs":
            instance.on_command = lambda: time.sleep(SECONDS)
        case "refuses":
            instance.fail = CommandFailed("the new workers could not start: see the log; the old ones serve on")
        case "slow":
            instance.hold = asyncio.Event()
            asyncio.get_running_loop().call_later(1.5, instance.hold.set)
    async with serving(instance, directory):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await end.wait()
    directory.close()


if __name__ == "__main__":
    try:
        asyncio.run(_main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
    except StartupError as error:
        sys.exit(str(error))
