"""What workers tell about themselves when the parent asks: stacks and tasks, also of one that hangs, and logs.

See `control.protocol.Insight`. Each question goes to the worker's probe, a thread beside its event loop; where not even
that answers, the stacks come from below the interpreter (`witness.Stacks`). Used by `commands`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from swell.supervisor.control.protocol import CommandFailed, Wanted
from swell.supervisor.logs import Logs
from swell.supervisor.parent import Parent
from swell.supervisor.witness import Unanswered
from swell.supervisor.workers import State, Worker
from swell.telemetry.profile import flame, hottest, summary, trimmed

__all__ = ["Insight"]

# For the probe to get the GIL and to look. Thousands of tasks take a fifth of a second.
ANSWER_SECONDS = 3.0
# Beyond the profile's own time: to gather the stacks, or to take a snapshot of memory.
PROFILE_SECONDS = 30.0
# Pages of profiles, some hundred kilobytes each at most; stacks that one is drawn of; functions that are told with it.
PAGES_KEPT, STACKS_SHOWN, HOTTEST_SHOWN = 8, 1000, 8
# proc_pid_stat(5)
_STATES = {
    "R": "runs, or waits for a processor", "S": "waits", "D": "waits in the kernel and cannot be interrupted",
    "T": "is stopped", "t": "is stopped by a debugger", "Z": "has ended",
}  # fmt: skip


class Insight:
    """Asks the workers of a parent."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._logs = Logs(parent)
        self._profiled: set[int] = set()
        self._pages: dict[int, str] = {}
        self._page = 0

    def logs(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """Log lines from now on."""
        return self._logs.follow(wanted)

    def close(self) -> None:
        """Who follows the logs hears no more."""
        self._logs.close()

    async def dump(self, worker: int | None) -> dict[str, Any]:
        """All stacks: of Python's threads by the probe, or by a signal where Python does not run; and the threads that
        the kernel knows. `answered` says which; `raw` is the text of the second way."""
        found = self._find(worker)
        document = await self._ask(found, "stacks")
        raw = ""
        if document is None and found.pid is not None:
            raw = await found.witness.stacks.dump(found.pid, everything=True)
        return {
            **self._about(found),
            "answered": document is not None,
            "raw": raw,
            "native": _native_threads(found.pid),
            **(document or {"threads": [], "left_out": 0}),
        }

    async def tasks(self, worker: int | None) -> dict[str, Any]:
        """All asyncio tasks. `answered` is false while the loop hangs: ages are not known then."""
        found = self._find(worker)
        document = await self._ask(found, "tasks")
        if document is None:
            raise CommandFailed(
                f"{found.name} does not answer: native code keeps its interpreter, or its process is stopped;"
                f" `swell dump {found.id}` works then, too"
            )
        return {**self._about(found), **document}

    async def profile(self, worker: int | None, seconds: float, hz: int, memory: bool) -> dict[str, Any]:
        """Where the time or the memory of a worker goes, see `swell.telemetry.profile`. One at a time."""
        found = self._find(worker)
        if found.id in self._profiled:
            raise CommandFailed(f"{found.name} is being profiled already")
        self._profiled.add(found.id)
        try:
            document = await self._ask(
                found, "profile", seconds + PROFILE_SECONDS, seconds=seconds, hz=hz, memory=memory
            )
        finally:
            self._profiled.discard(found.id)
        if document is None:
            raise CommandFailed(f"{found.name} does not answer: native code keeps its interpreter, or it is stopped")
        return {**self._about(found), **document}

    async def profile_page(self, worker: int | None, seconds: float, hz: int, memory: bool) -> dict[str, Any]:
        """The same as a page; the latest few are kept."""
        document = await self.profile(worker, seconds, hz, memory)
        # The rarest are left out: drawing them all would hold up the parent.
        stacks = sorted(document["stacks"], key=lambda stack: -stack[0])[:STACKS_SHOWN]
        document = trimmed({**document, "stacks": stacks})
        said = summary(document)
        self._page += 1
        title = f"{self._parent.config.name or 'Swell'}, worker {document['worker']} (pid {document['pid']}): {said}"
        self._pages[self._page] = flame(document, title)
        while len(self._pages) > PAGES_KEPT:
            del self._pages[next(iter(self._pages))]
        total = sum(count for count, _ in document["stacks"])
        hot = [
            {"function": one.function, "file": one.file, "line": one.line, "own": one.own / total}
            for one in hottest(document, HOTTEST_SHOWN)
        ]
        return {
            **{key: document[key] for key in ("worker", "pid", "state", "unit", "seconds", "sampler")},
            "text": said, "profile": self._page, "hottest": hot,
        }  # fmt: skip

    def flame(self, profile: int) -> str | None:
        """A page of the latest few."""
        return self._pages.get(profile)

    async def _ask(self, worker: Worker, what: str, patience: float = ANSWER_SECONDS, **more: Any) -> Any:
        try:
            return await worker.witness.document(patience, what, **more)
        except Unanswered as error:
            raise CommandFailed(f"{worker.name}: {error}") from None

    @staticmethod
    def _about(worker: Worker) -> dict[str, Any]:
        return {"worker": worker.id, "pid": worker.pid or 0, "state": worker.state.value}

    def _find(self, number: int | None) -> Worker:
        """Raises `CommandFailed`."""
        workers = {worker.id: worker for worker in self._parent.workers.values() if worker.state is not State.ENDED}
        there = f"there are {', '.join(map(str, sorted(workers)))}" if workers else "there are none now"
        if number is None:
            if len(workers) != 1:
                raise CommandFailed(f"say which worker: {there}")
            return next(iter(workers.values()))
        if number not in workers:
            raise CommandFailed(f"there is no worker {number}: {there}")
        return workers[number]


def _native_threads(pid: int | None) -> list[dict[str, Any]]:
    """What the kernel knows of a process's threads; empty where it does not say."""
    found = []
    try:
        for task in sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name)):
            # The name before it may hold anything.
            name, _, rest = (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
            fields = rest.split()
            ticks = os.sysconf("SC_CLK_TCK")
            found.append(
                {
                    "thread_id": int(task.name),
                    "name": name.partition("(")[2],
                    "state": fields[0],
                    "does": _STATES.get(fields[0], fields[0]),
                    "cpu_seconds": (int(fields[11]) + int(fields[12])) / ticks,
                }
            )
    except (OSError, ValueError, IndexError):
        pass
    return found
