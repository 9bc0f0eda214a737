"""Notices workers whose event loop stands still, finds out why, says it once, and has them replaced.

The heartbeat in the scoreboard is stamped by the loop's own thread only: a fresh one is proof that the loop goes round,
and a worker that beats is never touched, however busy it is. A silent one is relieved of new connections at once, and
replaced when it has been silent for --timeout-worker-stuck. SIGTERM cannot reach it: it is ended by force, once its
successor is ready. `diagnosis` knows the rules; this is the part that looks and acts. Used by the parent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from swell.config import Config
from swell.supervisor.crash import CRASH_SIGNALS, describe_end, ended_by
from swell.supervisor.diagnosis import Evidence, Kind, Stage, diagnose, named_requests, stage
from swell.supervisor.memory import OutOfMemory
from swell.supervisor.witness import indented
from swell.supervisor.workers import State, Worker

__all__ = ["TICK_SECONDS", "Watchdog"]

log = logging.getLogger("swell")

# The parent looks at every worker so often.
TICK_SECONDS = 1.0
# A parent that was itself away for longer (a frozen container, a starved machine) does not hold it against the workers.
AWAY_SECONDS = 2.5
# For the probe's thread to get the GIL and answer. It takes milliseconds unless somebody keeps the GIL.
PROBE_SECONDS = 1.0


class Acting(Protocol):
    """What the parent does."""

    def relieve(self, worker: Worker, silent: bool) -> None: ...
    def retire(self, worker: Worker, why: str) -> None: ...
    def condemn(self, worker: Worker, why: str, seconds: float | None) -> None: ...
    def pardon(self, worker: Worker, why: str) -> None: ...


@dataclass
class Silence:
    """One, from the last heartbeat on. `cpu` is what the loop's thread had used when it was noticed, at `noticed`."""

    since: float
    noticed: float
    cpu: float | None
    stage: Stage = Stage.SILENT
    condemned: bool = False


class Watchdog:
    """Looks after all workers of a parent."""

    def __init__(
        self,
        config: Config,
        parent: Acting,
        read: Callable[[int], Mapping[str, Any]],
        *,
        clock: Callable[[], float] = time.monotonic,
        root: Path = Path("/"),
    ) -> None:
        """`read` gives a slot of the scoreboard."""
        self._limit = config.timeout_worker_stuck
        self._start_limit = config.timeout_worker_start
        self._parent = parent
        self._read = read
        self._clock = clock
        self._root = root
        self._silences: dict[int, Silence] = {}
        self._amnesty = 0.0
        self._last_tick: float | None = None
        self._out_of_memory = OutOfMemory(root)
        self._tasks: set[asyncio.Task[None]] = set()

    # Heartbeats

    def tick(self, now: float) -> None:
        """Before the workers are looked at, once a second."""
        if self._last_tick is not None and now - self._last_tick > AWAY_SECONDS:
            self._amnesty = now
        self._last_tick = now

    def look(self, worker: Worker, seen: Mapping[str, Any], now: float) -> None:
        """At one ready worker, or one that was silent when it was told to end. `seen` is its slot of the scoreboard."""
        if worker.pid is None or worker.killed:
            return
        beat = max(seen["heartbeat_ns"] / 1e9, worker.started + (worker.ready_after or 0.0), self._amnesty)
        reached = stage(now - beat, self._limit)
        silence = self._silences.get(worker.id)
        if silence is not None and beat > silence.since:
            self._recovered(worker, silence, beat)
            silence = None
        if reached is Stage.BEATING:
            return
        if silence is None:
            silence = Silence(beat, now, self._cpu(worker.pid))
            self._silences[worker.id] = silence
            log.debug("%s: its event loop has not moved for %.1f s", worker.name, now - beat)
            self._parent.relieve(worker, True)
        if reached > silence.stage:
            silence.stage = reached
            self._later(self._warn(worker, silence) if reached is Stage.LONG else self._judge(worker, silence))
        if self._limit is not None and reached < Stage.STUCK and (left := beat + self._limit - now) < TICK_SECONDS:
            # It is due before the next tick.
            asyncio.get_running_loop().call_later(left, self._look_again, worker)

    def _look_again(self, worker: Worker) -> None:
        if worker.state is State.READY or (worker.state is State.DRAINING and worker.silent):
            self.look(worker, self._read(worker.seat.slot), self._clock())

    def _recovered(self, worker: Worker, silence: Silence, beat: float) -> None:
        del self._silences[worker.id]
        if silence.stage > Stage.SILENT:
            log.warning("%s: its event loop moves again after %.1f s", worker.name, beat - silence.since)
        if worker.state is State.READY:
            self._parent.relieve(worker, False)
        worker.silent = False
        if silence.condemned:
            self._parent.pardon(worker, f"its event loop stood still for {beat - silence.since:.1f} s")

    async def _warn(self, worker: Worker, silence: Silence) -> None:
        answer = await worker.witness.ask(PROBE_SECONDS)
        if worker.state is not State.READY or self._silences.get(worker.id) is not silence:
            return
        request = f" while it serves {answer.request}" if answer is not None and answer.request else ""
        log.warning(
            "%s: its event loop has not moved for %.1f s%s; it is replaced at %g s (--timeout-worker-stuck)",
            worker.name,
            self._age(silence),
            request,
            self._limit,
        )

    async def _judge(self, worker: Worker, silence: Silence) -> None:
        """It has had its time. Says everything in one entry."""
        assert worker.pid is not None
        # First what is lost by asking: a signal may interrupt the very call that blocks.
        seen = self._read(worker.seat.slot)
        states = self._state(worker.pid)
        answer = await worker.witness.ask(PROBE_SECONDS)
        states += self._state(worker.pid)
        cpu = self._share(worker.pid, silence)
        what = diagnose(Evidence(states, cpu, answer is not None))
        silent = answer is None and what is not Kind.STOPPED
        dump = await worker.witness.stacks.dump(worker.pid) if silent else ""
        if worker.state is State.ENDED:
            return
        used = "" if cpu is None else f" ({cpu * 100:.0f} % of a core)"
        replaced = "; another one takes its place" if worker.state is State.READY else ""
        lines = [f"{worker.name} is stuck: {what.value}{used}, for {self._age(silence):.1f} s{replaced}"]
        if request := (answer.request if answer is not None else "") or (seen["current"] or {}).get("line", ""):
            task = f", task {answer.task!r}" if answer is not None and answer.task else ""
            lines.append(f"  in the request {request}{task}")
        if requests := named_requests(seen):
            lines.append(f"  it serves {requests}")
        lines.append(answer.told() if answer is not None else indented(dump) or "  its stacks are not known")
        log.error("%s", "\n".join(lines))
        if self._silences.get(worker.id) is not silence or self.moves(worker):
            # It came back meanwhile. What it has done once it does again, but this time nothing has to be lost.
            self._parent.retire(worker, f"its event loop stood still: {what.value}")
        elif worker.state is State.READY:
            silence.condemned = True
            self._parent.condemn(worker, what.value, None)
        else:
            worker.kill(what.value)

    def moves(self, worker: Worker) -> bool:
        """Whether a worker that was condemned for its silence has come back."""
        silence = self._silences.get(worker.id)
        return silence is not None and self._read(worker.seat.slot)["heartbeat_ns"] / 1e9 > silence.since

    # Starts and ends that take too long

    def late_to_start(self, worker: Worker) -> None:
        """It is not ready although it should be: it is ended, and its end tells where it hangs."""
        self._later(self._end_late_start(worker))

    async def _end_late_start(self, worker: Worker) -> None:
        why = f"{worker.phase} did not end within {self._start_limit:g} s (--timeout-worker-start)"
        evidence = await self._where(worker)
        if worker.state is State.STARTING:
            worker.evidence = evidence
            worker.kill(why)

    def late_to_end(self, worker: Worker) -> None:
        """It has not finished although it should have: it is ended, and its end tells where it hangs."""
        self._later(self._end_late_end(worker))

    async def _end_late_end(self, worker: Worker) -> None:
        worker.evidence = await self._where(worker)
        worker.kill("it did not end in time")

    async def _where(self, worker: Worker) -> str:
        """Where a worker hangs, as the lines below a log entry."""
        if worker.pid is None:
            return ""
        answer = await worker.witness.ask(PROBE_SECONDS)
        if answer is None:
            return indented(await worker.witness.stacks.dump(worker.pid))
        return answer.told(starting=worker.state is State.STARTING)

    # The dead

    def autopsy(self, worker: Worker, status: int | None) -> tuple[str, str, str]:
        """What a worker has died of, what was lost with it, and what else there is to say: lines below a log entry.

        To be called once, before its slot and its descriptors are given up.
        """
        self._silences.pop(worker.id, None)
        seen = self._read(worker.seat.slot)
        if worker.killed:
            return worker.killed, _lost(seen), _below(worker.evidence)
        number = ended_by(status)
        died_of = describe_end(status, number == signal.SIGKILL and self._out_of_memory.happened())
        details = ""
        if worker.state is State.STARTING:
            died_of += f" during {worker.phase}"
            details = worker.last_words
        elif number in CRASH_SIGNALS and seen["current"]:
            died_of += f" in the request {seen['current']['line']}"
        if number in CRASH_SIGNALS:
            details = worker.witness.stacks.read()
        return died_of, _lost(seen), _below(indented(details))

    # Looking

    def _age(self, silence: Silence) -> float:
        return self._clock() - silence.since

    def _state(self, pid: int) -> str:
        """The kernel's letter for the loop's thread, or nothing."""
        return self._stat(pid)[:1]

    def _cpu(self, pid: int) -> float | None:
        """What the loop's thread has used, in seconds. proc_pid_stat(5), fields 14 and 15."""
        fields = self._stat(pid).split()
        try:
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (IndexError, ValueError):
            return None

    def _share(self, pid: int, silence: Silence) -> float | None:
        """Of a core, since the silence was noticed."""
        used, passed = self._cpu(pid), self._clock() - silence.noticed
        return None if used is None or silence.cpu is None or passed <= 0 else (used - silence.cpu) / passed

    def _stat(self, pid: int) -> str:
        """From the state on: the name before it may hold anything."""
        try:
            text = (self._root / f"proc/{pid}/task/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return ""
        return text.rpartition(")")[2].lstrip()

    def _later(self, step: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _below(lines: str) -> str:
    return lines and f"\n{lines}"


def _lost(seen: Mapping[str, Any]) -> str:
    requests = named_requests(seen, " lost")
    return requests and f"; {requests}"
