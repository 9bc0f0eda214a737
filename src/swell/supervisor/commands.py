"""What commands and signals may ask of the parent: the `Instance` behind the control socket."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from swell import __version__
from swell.supervisor.control.protocol import CommandFailed, Decision
from swell.supervisor.insight import Insight
from swell.supervisor.parent import Parent
from swell.supervisor.slots import room_in
from swell.supervisor.upgrade import Upgrade
from swell.supervisor.workers import State, Worker

__all__ = ["Commands"]

log = logging.getLogger("swell")

DECISIONS_KEPT = 500
# The same signal twice within this time is one, in seconds.
ONE_SIGNAL = 0.1


class Commands:
    """See `swell.supervisor.control.protocol.Instance`."""

    def __init__(self, parent: Parent, name: str, addresses: list[str]) -> None:
        self._parent = parent
        self._name = name
        self._addresses = addresses
        self._started = time.time()
        self._decisions: deque[Decision] = deque(maxlen=DECISIONS_KEPT)
        self._tasks: set[asyncio.Task[None]] = set()
        self.upgrade: Upgrade | None = None
        self.insight = Insight(parent)
        self.why: Callable[[], str | None] = lambda: None
        """Why the load asks for as many workers as there are; None where it is not asked."""
        self.outlook: Callable[[], dict[str, Any] | None] = lambda: None
        """The load of the last day and its forecast; None where it is not recorded."""
        self.certificates: Callable[[], list[dict[str, Any]]] = list
        """Those that an authority issues to us, see `acme`."""
        self.on_decision: Callable[[Decision], None] = lambda decision: None
        self._why = "as configured"

    def status(self) -> dict[str, Any]:
        """What every worker does."""
        parent = self._parent
        app = parent.config.app
        return {
            "instance": {
                "name": self._name,
                "pid": os.getpid(),
                "version": __version__,
                "started": self._started,
                "app": app if isinstance(app, str) else f"{app.__module__}:{getattr(app, '__qualname__', app)}",
                "addresses": self._addresses,
                "min": parent.minimum,
                "max": parent.maximum,
                "target": parent.target,
                "generation": parent.generation.number,
                "spawn": "fresh" if parent.generation.template is None else "fork",
                "state": parent.state,
            },
            "workers": [self._describe(worker) for worker in parent.workers.values()],
            "certificates": self.certificates(),
        }

    def _describe(self, worker: Worker) -> dict[str, Any]:
        seen = self._parent.slots.board.read(worker.seat.slot)
        return {
            **seen,
            "id": worker.id,
            "slot": worker.seat.slot,
            "pid": worker.pid or 0,
            "generation": worker.generation,
            "state": "stuck" if seen["state"] == "stuck" else worker.state.value,
            "age": time.monotonic() - worker.started,
            "cause": worker.cause,
        }

    def explain(self, last: int) -> dict[str, Any]:
        """Why the number of workers is what it is."""
        parent = self._parent
        bounds = f"{parent.minimum}" if parent.minimum == parent.maximum else f"{parent.minimum}..{parent.maximum}"
        return {
            "now": f"{parent.target} of {bounds}: {self.why() or self._why}",
            "decisions": list(self._decisions)[-last:],
        }

    def forecast(self) -> dict[str, Any]:
        """The load of the last day beside its forecast, and the hours ahead."""
        seen = self.outlook()
        if seen is not None:
            return {"recorded": True, **seen}
        fixed = self._parent.minimum == self._parent.maximum
        text = "the number of workers is fixed, so its load is not recorded" if fixed else "nothing is recorded yet"
        return {"recorded": False, "at": time.time(), "text": text}

    @property
    def decisions(self) -> list[Decision]:
        """The latest ones, the oldest first."""
        return list(self._decisions)

    def remember(self, earlier: Sequence[Decision]) -> None:
        """Decisions from before this parent. They may be told from several sides."""
        known = {decision["at"]: decision for decision in (*earlier, *self._decisions)}
        self._decisions = deque((known[at] for at in sorted(known)), DECISIONS_KEPT)

    def decided(
        self,
        after: int,
        rule: str,
        text: str,
        guard: str | None = None,
        inputs: dict[str, Any] | None = None,
        details: str = "",
    ) -> None:
        """Keeps a decision, logs it with `details` and carries it out. One that changes nothing is told like others."""
        before = self._parent.target
        entry = Decision(
            at=time.time(), before=before, after=after, rule=rule, guard=guard, inputs=inputs or {}, text=text
        )
        self._decisions.append(entry)
        self._parent.meter.decided(rule, guard, before, after)
        self._why = text
        self.on_decision(entry)
        change = f"{before} → {after}" if after != before else f"stay {after}"
        log.info("workers %s: %s%s", change, text, f" ({details})" if details else "")
        self._parent.set_target(after, text)

    async def scale(self, minimum: int | None, maximum: int | None, count: int | None) -> dict[str, Any]:
        """Sets the range, or the number within it."""
        parent = self._parent
        self._refuse_while_ending()
        room = room_in(parent.slots.board.slots)
        most = max(value for value in (minimum, maximum, count, 0) if value is not None)
        if most > room:
            raise CommandFailed(
                f"this instance has room for {room} workers: restart it with --workers 1..{most} for more"
            )
        if count is not None:
            fixed = parent.minimum == parent.maximum
            parent.minimum = count if fixed else min(parent.minimum, count)
            parent.maximum = count if fixed else max(parent.maximum, count)
            wanted = count
        else:
            parent.minimum = parent.minimum if minimum is None else minimum
            parent.maximum = parent.maximum if maximum is None else maximum
            wanted = min(max(parent.target, parent.minimum), parent.maximum)
        if wanted != parent.target:
            self.decided(wanted, "command", f"asked for {wanted}")
        number = f"{parent.target} worker{'' if parent.target == 1 else 's'}"
        if parent.minimum == parent.maximum:
            return {"text": f"{number}, whatever the load"}
        until = " until the load asks for another number," if count is not None else ""
        return {"text": f"{number}{until} within {parent.minimum}..{parent.maximum}"}

    def step(self, by: int) -> None:
        """SIGTTIN and SIGTTOU: one more, one fewer."""
        wanted = max(1, self._parent.target + by)
        self._later(self.scale(None, None, wanted))

    def ending_signal(self, number: signal.Signals) -> Callable[[], None]:
        """SIGINT and SIGTERM: the first ends the instance gracefully, the second at once."""
        last = -math.inf

        def received() -> None:
            nonlocal last
            now = time.monotonic()
            # Who signals a process and its whole group, as timeout(1) does, means it once.
            if now - last > ONE_SIGNAL:
                last = now
                self._parent.end(number.name)

        return received

    def on_hup(self) -> None:
        """SIGHUP: the code is new."""
        log.info("SIGHUP: starting workers with the code as it is now")
        self._later(self.reload())

    def on_usr2(self) -> None:
        """SIGUSR2: the server itself is new."""
        if self.upgrade is not None:
            log.info("SIGUSR2: starting a new server, which takes over the sockets of this one")
            self._later(self.upgrade.run())

    def _later(self, command: Coroutine[Any, Any, dict[str, Any]]) -> None:
        """Runs a command that nobody waits for."""

        async def run() -> None:
            try:
                await command
            except CommandFailed as error:
                log.error("%s", error)

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reload(self) -> dict[str, Any]:
        """Replaces all workers by new ones with the code as it is now."""
        begun = time.monotonic()
        if self.upgrade is not None and self.upgrade.under_way:
            raise CommandFailed("an upgrade is under way: what takes over may have read the code before it changed")
        await self._parent.reload()
        text = f"generation {self._parent.generation.number} serves after {time.monotonic() - begun:.1f} s"
        log.info("reloaded: %s", text)
        return {"text": text, "generation": self._parent.generation.number}

    async def restart(self, worker: int) -> dict[str, Any]:
        """Replaces one worker."""
        self._refuse_while_ending()
        found = self._parent.workers.get(worker)
        if found is None or found.state is not State.READY:
            known = ", ".join(str(w.id) for w in self._parent.workers.values() if w.state is State.READY) or "none"
            raise CommandFailed(f"there is no ready worker {worker}; there are: {known}")
        self._parent.retire(found, "a restart was asked for")
        while found.state is State.READY:
            await self._parent.wait_changed()
        return {"text": f"worker {worker} is replaced"}

    async def drain(self) -> dict[str, Any]:
        """Ends the instance after the grace."""
        self._refuse_while_ending()
        self._parent.end("swell drain")
        return {"text": "finishing the running requests, then ending"}

    async def stop(self, now: bool) -> dict[str, Any]:
        """Ends the instance."""
        if now:
            self._parent.end_now("swell stop --now")
            return {"text": "ending now"}
        self._refuse_while_ending()
        self._parent.end("swell stop")
        return {"text": "finishing the running requests, then ending"}

    def _refuse_while_ending(self) -> None:
        if self._parent.ending:
            raise CommandFailed("the server is ending")
