"""The parent: it holds the sockets, starts workers, replaces them, ends them, and never serves a request itself.

It compares what is with what should be (`_reconcile`) whenever something happens: a worker is ready, one has ended, a
signal or a command comes, a timer is due. Replacing comes before removing: a worker that is to go serves on until its
successor is ready. New code takes over when all of its workers are ready, in one step (`generation`).

Runs on its own asyncio loop, in a process that never runs the application. Made by `main`, commanded by `commands`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from swell.config import Config
from swell.config.workers import WorkerRange
from swell.supervisor.backlog import Backlog
from swell.supervisor.control.protocol import CommandFailed
from swell.supervisor.crash import StartPolicy, exit_code_of
from swell.supervisor.dealer import Dealer
from swell.supervisor.generation import SWITCH_SECONDS, Generation, Stage, has_stopped, is_gathered, may_accept
from swell.supervisor.memory import available, resident, show_size
from swell.supervisor.meter import Meter
from swell.supervisor.reaper import Reaper
from swell.supervisor.recycle import Recycler
from swell.supervisor.roster import keepers, surplus
from swell.supervisor.slots import Slots
from swell.supervisor.spawn import Template, TemplateFailed, Unfit, start_fresh
from swell.supervisor.tls import TlsForWorkers
from swell.supervisor.watchdog import TICK_SECONDS, Watchdog
from swell.supervisor.workers import State, Worker, ties
from swell.worker.attached import Seat, Wiring
from swell.worker.channel import Message
from swell.worker.server import CANCEL_GRACE

__all__ = ["Parent"]

log = logging.getLogger("swell")

# A worker bounds its own end: requests, cancelled requests, lifespan, threads. This is beyond them, in seconds.
BEYOND_GRACE = 4.0
# From a second signal, or `swell stop --now`, to the use of force, in seconds.
HURRY_SECONDS = 5.0


class Parent:
    """One instance of Swell, from its first worker to its last."""

    def __init__(
        self,
        config: Config,
        bounds: WorkerRange,
        wiring: Wiring,
        slots: Slots,
        listeners: Sequence[socket.socket],
        groups: Sequence[Sequence[int]],
        addresses: Sequence[str],
    ) -> None:
        """`listeners` are the sockets of `wiring`; `groups` are those of each of `addresses`, as indexes."""
        self.config = config
        self.minimum, self.maximum = bounds.minimum, bounds.maximum or bounds.minimum
        self.target = max(self.minimum, 1)
        self.workers: dict[int, Worker] = {}
        self.slots = slots
        self.on_state: Callable[[], None] = lambda: None
        self.on_trial = False
        """Workers are started but accept nothing yet: another parent still serves with the same sockets."""
        self.tls: TlsForWorkers | None = None
        self._state = "starting"
        self.exit_code = 0
        self.generation = Generation(1, None)
        self.on_serving: Callable[[], None] = lambda: None
        self.on_ending: Callable[[], None] = lambda: None
        self.on_waiting: Callable[[], None] = lambda: None
        """A connection waits and there is no worker: who knows why there is none may set the target."""
        self._wiring = wiring
        self._listeners = listeners
        self.reaper = Reaper()
        self._starts = StartPolicy()
        self._trial: asyncio.Future[None] | None = None
        self._changed: asyncio.Future[None] | None = None
        self._finished = asyncio.Event()
        self._last_worker = 0
        self._last_generation = 1
        self._why = "the server starts"
        self._vacancies: deque[str] = deque()  # why the next workers are started, where there is a reason for each
        self._wake: asyncio.TimerHandle | None = None
        self._asleep = False
        self._renewing: asyncio.Task[None] | None = None
        self._dealer = Dealer(self.workers, slots, groups, self.reconcile)
        self._watchdog = Watchdog(config, self, slots.board.read)
        self._recycler = Recycler(config, self)
        self.meter = Meter(slots, Backlog(listeners, groups, addresses))

    # The life of the instance

    async def run(self, template: Template | None) -> int:
        """Serves until the end is asked for. Returns the exit code. `template` is importing the application."""
        self._loop = asyncio.get_running_loop()
        self.reaper.start(self._loop)
        self.generation = Generation(1, template)
        if self.ending and template is not None:  # the signal came before us
            self._loop.call_soon(template.close)  # once `_prepare` listens for its end
        try:
            try:
                await self._prepare(self.generation)
            except TemplateFailed as error:
                self._first_failed(str(error), error.code, told=error.told)
            self.reconcile()
            self._tick()
            await self._finished.wait()
            return self.exit_code
        finally:
            if self.generation.template is not None:
                await self.generation.template.wait_ended()
            self.reaper.stop()

    @property
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self.on_state()

    @property
    def ready(self) -> int:
        """How many workers serve."""
        return sum(worker.state is State.READY for worker in self.workers.values())

    @property
    def complete(self) -> bool:
        """Whether the code has proven to start, and everybody who is wanted is ready."""
        return self.generation.confirmed and not self.ending and self.ready >= self.target

    @property
    def _tries_again(self) -> bool:
        """Whether a worker that does not start is tried again. Those that another parent waits for are not."""
        return self.generation.confirmed and not self.on_trial

    def _tick(self) -> None:
        """Once a second."""
        self._loop.call_later(TICK_SECONDS, self._tick)
        now = time.monotonic()
        self._watchdog.tick(now)
        for worker in [w for w in self.workers.values() if w.state is State.READY or w.silent]:
            seen = self.slots.board.read(worker.seat.slot)
            self._watchdog.look(worker, seen, now)
            if worker.state is State.READY:
                self._recycler.look(worker, seen, now)

    @property
    def ending(self) -> bool:
        return self.state in ("draining", "stopping")

    async def _prepare(self, generation: Generation) -> None:
        """Has the application imported, where workers are to be forked. Raises `TemplateFailed`."""
        template = generation.template
        if template is None:
            return
        try:
            await template.wait_imported(self._loop, self.reaper, self.config.timeout_worker_start)
        except Unfit as hazard:
            log.info("%s: each worker gets a fresh interpreter (--spawn fork forks all the same)", hazard)
            generation.template = None
        except TemplateFailed:
            template.close()
            raise
        else:
            log.info(
                "workers are forked from a process that has imported the application in %.2f s: %s",
                template.seconds,
                self._why_forked(),
            )

    def _why_forked(self) -> str:
        if callable(self.config.app):
            return "it was given as an object"
        return "--spawn fork" if self.config.spawn == "fork" else "it started no threads and opened no connections"

    def begin(self) -> None:
        """The trial is over: this parent serves from now on."""
        self.on_trial = False
        self.state = "running"
        self.reconcile()
        self.on_serving()

    def end(self, why: str, *, grace: bool = True) -> None:
        """Ends the instance gracefully; when that has begun already, at once. Without `grace`, somebody else accepts
        the connections that still come."""
        if self.ending:
            self.end_now(f"{why} again")
            return
        log.info("%s: finishing the running requests, then ending", why)
        self.state = "draining"
        if self.generation.stage is Stage.SWITCHING:
            self.generation.stage = Stage.SERVING  # who waits in the queues is for the new ones, which end as well
        self._deal()
        self._fail_trial("the server is ending")
        self.on_ending()
        self._watch_listeners(False)
        if self.generation.template is not None:
            self.generation.template.close()
        if grace and self.config.drain_grace and self.workers:
            self._loop.call_later(self.config.drain_grace, self._drain_all)
        else:
            self._drain_all()

    def end_now(self, why: str) -> None:
        """Ends the instance without waiting for anybody."""
        if not self.ending:
            self.on_ending()
        log.info("%s: ending now", why)
        self.state = "stopping"
        self._fail_trial("the server is ending")
        if self.generation.template is not None:
            self.generation.template.close()
        for worker in list(self.workers.values()):
            worker.hurry()
            worker.within(self._loop, HURRY_SECONDS, lambda late: late.kill("it did not end when it was told to"))
        self.reconcile()

    def _first_failed(self, why: str, code: int, *, told: bool) -> None:
        """The code that the server was started with does not start; `told` when the failing process has said why."""
        if self.ending:
            return
        if self.config.reload and not self.on_trial:
            self.generation.broken = True
            log.warning("%s; waiting for a file to change", why)
            return
        if not told:
            log.error("%s", why)
        self._fail(code)

    def _fail(self, code: int) -> None:
        """Ends the instance because it cannot serve."""
        self.exit_code = code
        self.state = "stopping"
        self._drain_all()

    def _drain_all(self) -> None:
        for worker in list(self.workers.values()):
            if worker.state is not State.DRAINING:
                self._drain(worker)
        self.reconcile()

    # What is, and what should be

    def reconcile(self) -> None:
        """Takes the next steps towards what should be. Harmless at any time."""
        if self.ending:
            if not self.workers:
                self._finished.set()
            # Until the grace is over, connections are accepted: those of a worker that has died by the others.
            self._deal()
            self._tell_changed()
            return
        workers = self.workers.values()
        for _ in range(self._wanted() - len(keepers(workers, self.generation))):
            if not self._start():
                break
        self._advance()
        leaving = surplus(workers, self.generation, self.target, self._busyness, on_trial=self._trial is not None)
        for worker in leaving:
            worker.state = State.DRAINING
            if worker.generation != self.generation.number:
                worker.cause = "its code was replaced"
        # The others take its sockets over before it lets go of them.
        self._deal()
        for worker in leaving:
            self._drain(worker)
        # Who is finishing takes nothing more, and may take long over it.
        self._watch_listeners(self.target == 0 and not any(w.accepting for w in self.workers.values()))
        self._tell_changed()

    def _advance(self) -> None:
        """The new generation takes over: the old workers stop accepting, then the new ones begin."""
        generation, workers = self.generation, self.workers.values()
        if generation.stage is Stage.GATHERING and is_gathered(generation, workers, self.target):
            self._take_over(Stage.SWITCHING)
            for worker in list(workers):
                if worker.generation != generation.number and worker.state is State.READY and not worker.standby:
                    worker.cause = "its code was replaced"
                    worker.accept_from(())  # what waits in the queues is for the new ones
                    self._drain(worker)
            if not has_stopped(generation, workers):
                self._loop.call_later(SWITCH_SECONDS, self._switch_at_last, generation)
        if generation.stage is Stage.SWITCHING and has_stopped(generation, workers):
            generation.stage = Stage.SERVING

    def _switch_at_last(self, generation: Generation) -> None:
        """Somebody has not said that it accepts no more."""
        if generation.stage is Stage.SWITCHING:
            generation.stage = Stage.SERVING
            self.reconcile()

    def _one_by_one(self, why: str) -> None:
        """The new generation cannot be there as a whole beside the old one."""
        if self.generation.stage is Stage.GATHERING and not is_gathered(
            self.generation, self.workers.values(), self.target
        ):
            log.warning("%s: workers with the new code take over one by one", why)
            self._take_over(Stage.SERVING)

    def _take_over(self, stage: Stage) -> None:
        self.generation.stage = stage
        if self._trial is not None and not self._trial.done():
            self._trial.set_result(None)

    def _tell_changed(self) -> None:
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    def _wanted(self) -> int:
        """How many workers of this generation there should be: one, until one has been ready."""
        if self.generation.confirmed:
            return self.target
        failed = self._trial is not None and self._trial.done()
        return 0 if self.generation.broken or failed else 1

    def _busyness(self, worker: Worker) -> tuple[bool, int, int, int]:
        seen = self.slots.board.read(worker.seat.slot)
        return worker.state is State.READY, seen["in_flight"] + seen["websockets"], seen["connections"], -worker.id

    def _deal(self) -> None:
        """Gives the listening sockets to those who may accept."""
        if not self.on_trial:
            ready = (w for w in self.workers.values() if w.state is State.READY)
            self._dealer.deal([w for w in ready if may_accept(w, self.generation)])

    def _watch_listeners(self, asleep: bool) -> None:
        """While there is no worker on purpose, the first connection starts one."""
        if asleep == self._asleep or self.on_trial:
            return
        self._asleep = asleep
        for listener in self._listeners:
            if asleep:
                self._loop.add_reader(listener, self._awaken)
            else:
                self._loop.remove_reader(listener)
        if asleep:
            self.state = "sleeping"
            log.info("no worker is needed: the next connection starts one")

    def _awaken(self) -> None:
        self._watch_listeners(False)
        self.state = "running"
        self.on_waiting()
        if self.target == 0:
            self.set_target(1, "a connection arrived while there was no worker")

    def set_target(self, number: int, why: str) -> None:
        """How many workers there should be."""
        if number != self.target:
            self.target, self._why = number, why
            self.reconcile()

    # Starting

    def _start(self) -> bool:
        """Starts a worker, if one may be started now."""
        generation = self.generation
        if (pause := self._starts.wait(time.monotonic())) > 0:
            self._reconcile_in(pause)
            return False
        if generation.template is not None and not generation.template.alive:
            self._renew_template(generation)
            return False
        slot = self.slots.take(self._last_worker + 1, generation.number)
        if slot is None:
            if not self._dealer.is_clearing:
                self._one_by_one("there is no room for old and new workers side by side")
            return False  # when one is free, this is asked again
        try:
            channel, end, witness, probe_end = ties()
        except OSError as error:
            self.slots.give_back(slot)
            self._cannot_start(error.strerror or str(error))
            return False
        self._last_worker += 1
        self.meter.starts += 1
        seat = Seat(self._last_worker, generation.number, slot)
        cause = self._vacancies.popleft() if self._vacancies else self._why
        worker = Worker(seat, channel, witness, cause, time.monotonic(), self._first_phase(generation))
        self.workers[worker.id] = worker
        worker.watch(self._loop, self._heard)
        worker.within(self._loop, self.config.timeout_worker_start, self._late_to_start)

        def born(pid: int | None, why: str) -> None:
            if pid is None and self.ending:
                self._gone(worker, 0)  # the template was ended with us, and it has never been there
            elif pid is None:
                log.error("worker %d could not be started: %s", worker.id, why)
                self._gone(worker, None)
            else:
                worker.pid = pid
                self.reaper.expect(pid, lambda status: self._gone(worker, status), worker.started)

        if self.tls is not None:
            # It is there before the worker is told to accept.
            self.tls.give([channel])
        with end, probe_end:
            ends = (end.fileno(), witness.stacks.fileno(), probe_end.fileno())
            if generation.template is not None:
                generation.template.fork(seat, ends, born)
            else:
                try:
                    born(start_fresh(self.config, self._wiring, seat, ends), "")
                except OSError as error:
                    born(None, error.strerror or str(error))
        return True

    def _late_to_start(self, worker: Worker) -> None:
        template = self.generation.template
        if worker.pid is not None or template is None or worker.generation != self.generation.number:
            self._watchdog.late_to_start(worker)
        else:
            log.error(
                "the process that workers are forked from did not answer for %g s (--timeout-worker-start): ending it",
                self.config.timeout_worker_start,
            )
            template.kill()

    def _cannot_start(self, why: str) -> None:
        """This process has no room for another worker: it is tried again."""
        text = f"no worker can be started: {why}"
        if not self._tries_again:
            if self._trial is None:
                self._first_failed(text, 1, told=False)
            else:
                self._fail_trial(text)
            return
        log.error("%s", text)
        now = time.monotonic()
        self._starts.failed_to_start(now)
        self._give_up_if_hopeless(1)
        self._reconcile_in(self._starts.wait(now))

    def _renew_template(self, generation: Generation) -> None:
        """The process that workers are forked from has died: another one takes its place."""
        if self._renewing is not None:
            return
        if callable(self.config.app):
            log.critical("the process that workers are forked from has died, and only a restart brings it back")
            self._fail(1)
            return

        async def renew() -> None:
            log.warning("the process that workers are forked from has died: starting another")
            try:
                generation.template = Template.executed(self.config, self._wiring)
                await self._prepare(generation)
            except TemplateFailed as error:
                log.error("%s", error)
                self._starts.failed_to_start(time.monotonic())
            finally:
                self._renewing = None
            self._give_up_if_hopeless(3)
            self.reconcile()

        self._renewing = self._loop.create_task(renew())

    def _reconcile_in(self, seconds: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self._loop.call_later(seconds, self.reconcile)

    def _first_phase(self, generation: Generation) -> str:
        """What a new worker does before it runs its event loop."""
        if generation.template is None:
            return "the import of the application"
        return "the call of the factory" if self.config.factory else "the start of the process"

    # What workers say, and how they end

    def _heard(self, worker: Worker, message: Message) -> None:
        match message["is"]:
            case "phase":
                worker.phase = message["phase"]
            case "last words":
                worker.last_words = message["text"]
            case "tls":
                worker.tls = message["edition"]
                self._tell_changed()
            case "ready" if worker.state is State.STARTING:
                worker.pid = message["pid"]  # the news of its birth may still be on its way
                self._is_ready(worker)
            case "draining" if worker.state is State.DRAINING:
                worker.accepting = False
                self.reconcile()
            case "draining" if worker.state is State.READY:
                worker.state, worker.cause, worker.accepting = State.DRAINING, message["why"], False
                if not self.ending:
                    log.info("%s ends, %s: another one takes its place", worker.name, worker.cause)
                    self._vacancies.append(f"replaces worker {worker.id}, which ended: {worker.cause}")
                self._bound_drain(worker)
                self.reconcile()
            case "retire" if worker.state is State.READY:
                self._recycler.asked(worker, message["why"], self.slots.board.read(worker.seat.slot), time.monotonic())

    def _is_ready(self, worker: Worker) -> None:
        worker.state = State.READY
        worker.within(self._loop, None, self._watchdog.late_to_start)
        worker.ready_after = time.monotonic() - worker.started
        self._recycler.is_ready(worker)
        self._starts.was_ready()
        log.info("%s is ready after %.0f ms: %s", worker.name, worker.ready_after * 1000, worker.cause)
        if worker.generation == self.generation.number and not self.generation.confirmed:
            self.generation.stage = Stage.GATHERING
            self._look_for_memory(worker)
        first = self.state == "starting" and not self.on_trial
        if first or self.state == "sleeping":
            self.state = "running"
        self.reconcile()
        if first:
            self.on_serving()

    def _look_for_memory(self, first: Worker) -> None:
        """Whether there is enough for as many as are still to come beside the old ones. Pages that they share with
        each other are counted several times: on the safe side."""
        if is_gathered(self.generation, self.workers.values(), self.target):
            return
        size, free = resident(first.pid or 0), available()
        if size is not None and free is not None and size * (self.target - 1) > free:
            self._one_by_one(f"a worker has {show_size(size)}, and {show_size(free)} of memory are left")

    def retire(self, worker: Worker, why: str) -> None:
        """Replaces a worker: it serves on until its successor is ready."""
        if worker.state is State.READY and not worker.retiring:
            worker.retiring = worker.cause = why
            log.info("%s is to be replaced: %s", worker.name, why)
            self._vacancies.append(f"replaces worker {worker.id}: {why}")
            self.reconcile()

    def condemn(self, worker: Worker, why: str, seconds: float | None) -> None:
        """Replaces a worker by force: it is ended when its successor is ready, in any case after so many seconds."""
        if worker.state is not State.READY or worker.condemned:
            return
        if not worker.retiring:
            self._vacancies.append(f"replaces worker {worker.id}: {why}")
        worker.condemned = worker.cause = why
        worker.within(self._loop, seconds, lambda late: late.kill(why))
        self.reconcile()

    def pardon(self, worker: Worker, why: str) -> None:
        """It serves again, before its successor was ready: it is replaced gracefully."""
        if worker.condemned:
            worker.condemned, worker.retiring = "", worker.retiring or why
            self.reconcile()

    def relieve(self, worker: Worker, silent: bool) -> None:
        """A worker whose loop stands still gets no new connections until it moves again."""
        worker.silent = silent
        if not worker.standby:
            self.slots.board.set_state(worker.seat.slot, "stuck" if silent else "ready")
        self._deal()

    def _drain(self, worker: Worker) -> None:
        if worker.condemned and not self._watchdog.moves(worker):
            worker.state = State.DRAINING
            worker.kill(worker.condemned)
            return
        worker.drain()
        self._bound_drain(worker)

    def _bound_drain(self, worker: Worker) -> None:
        allowed = self.config.timeout_graceful_shutdown
        if allowed is not None:
            bound = allowed + CANCEL_GRACE + max(allowed, CANCEL_GRACE) + BEYOND_GRACE
            worker.within(self._loop, bound, self._watchdog.late_to_end)

    def _gone(self, worker: Worker, status: int | None) -> None:
        """A worker has ended."""
        state = worker.state
        if worker.state is State.STARTING or worker.state is State.READY:
            # What it said last may not have been read yet.
            for message in worker.channel.receive() or ():
                self._heard(worker, message)
            state = worker.state
        died_of, lost, details = self._watchdog.autopsy(worker, status)
        self._recycler.gone(worker)
        self.meter.gone(worker, state, self.ending)
        worker.ended()
        del self.workers[worker.id]
        self.slots.board.set_state(worker.seat.slot, "empty")
        self._dealer.inherit(worker.seat.slot)
        now = time.monotonic()
        if state is State.DRAINING:
            if worker.killed:
                log.warning("%s was ended by force: %s%s%s", worker.name, died_of, lost, details)
            elif status != 0:
                log.warning("%s ended with %s while it was finishing%s%s", worker.name, died_of, lost, details)
            elif not self.ending:
                log.info("%s has ended: %s", worker.name, worker.cause)
        elif state is State.READY and worker.condemned:
            log.error("%s was ended by force: %s%s%s", worker.name, died_of, lost, details)
        elif state is State.READY:
            log.error("%s died: %s%s%s", worker.name, died_of, lost, details)
            self._starts.crashed(now)
            if worker.standby and worker.generation == self.generation.number:
                self._one_by_one(f"{worker.name} died before it served")
            self._vacancies.append(f"replaces worker {worker.id}, which died: {died_of}")
        elif not self.ending:
            self._failed_to_start(worker, died_of, details, exit_code_of(status), now)
        self.reconcile()

    def _failed_to_start(self, worker: Worker, died_of: str, details: str, code: int | None, now: float) -> None:
        if worker.generation == self.generation.number and not self._tries_again:
            if self._trial is None:
                # With an exit code it has said why by itself, unless it has left that to us.
                told = bool(code) and not details
                self._first_failed(f"{worker.name} does not start: {died_of}{details}", code or 3, told=told)
            else:
                self._fail_trial(f"the new code does not start: {died_of}{details}")
            return
        log.error("%s failed to start: %s%s", worker.name, died_of, details)
        if worker.generation == self.generation.number:
            self._one_by_one("not every worker starts")
        self._vacancies.append(f"replaces worker {worker.id}, which failed to start: {died_of}")
        self._starts.failed_to_start(now)
        self._give_up_if_hopeless(code or 3)

    def _give_up_if_hopeless(self, code: int) -> None:
        if self._starts.hopeless and not any(w.state is State.READY for w in self.workers.values()):
            log.critical("%d workers in a row failed to start, and none is left: giving up", self._starts.failed_starts)
            self._fail(code)

    # New code

    async def reload(self) -> None:
        """Replaces all workers by new ones with the code as it is now. Raises `CommandFailed` when they do not start;
        the old ones serve on then."""
        if self.ending:
            raise CommandFailed("the server is ending")
        if callable(self.config.app):
            raise CommandFailed(
                "the application was given as an object, which cannot be imported anew: restart the program, send it"
                " SIGUSR2, or give swell.run() an import string"
            )
        while self.generation.stage is Stage.SWITCHING and not self.ending:
            await self.wait_changed()  # a second at most
        if self.ending:
            raise CommandFailed("the server is ending")
        if self._trial is not None:
            raise CommandFailed("a reload is under way already")
        before, self._trial = self.generation, self._loop.create_future()
        state, self.state = self.state, "reloading"
        self._last_generation += 1
        forks = before.template is not None or (before.broken and self.config.spawn != "fresh")
        after = Generation(self._last_generation, None)
        try:
            await self._try(after, forks)
        finally:
            self._trial = None
            self.generation = after if after.has_taken_over else before
            for one in (before, after):
                if one.template is not None and (one is not self.generation or self.ending):
                    one.template.close()
            if not self.ending:
                self.state = "starting" if self.generation.broken else "running" if after.has_taken_over else state
            self.reconcile()
        if before.broken:
            self.on_serving()
        while (self.generation is after and after.stage is not Stage.SERVING and not self.ending) or any(
            w.generation < after.number and w.accepting for w in self.workers.values()
        ):
            await self.wait_changed()

    def _fail_trial(self, why: str) -> None:
        """The reload that is under way, if any, has failed."""
        if self._trial is not None and not self._trial.done():
            self._trial.set_exception(CommandFailed(why))
            self._trial.exception()  # whether somebody waits for it yet or not

    async def _try(self, generation: Generation, forks: bool) -> None:
        """Makes it the current one and waits until it takes over."""
        try:
            if forks:
                generation.template = Template.executed(self.config, self._wiring)
            await self._prepare(generation)
        except TemplateFailed as error:
            raise CommandFailed(str(error)) from None
        if self.ending:
            raise CommandFailed("the server is ending")
        self.generation, self._why = generation, "new code"
        self.reconcile()
        assert self._trial is not None
        await self._trial

    async def wait_changed(self) -> None:
        """Waits until something has happened."""
        if self._changed is None:
            self._changed = self._loop.create_future()
        # Each who waits may be cancelled without the others.
        await asyncio.shield(self._changed)
