"""The watchdog with a fake clock, fake workers and a fake parent: when it acts, on whom, and what it says."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from swell.config import Config
from swell.supervisor.watchdog import Watchdog
from swell.supervisor.witness import Answer
from swell.supervisor.workers import State, Worker

ANSWER = Answer("task-1", "GET /spin", '  File "app.py", line 3, in app\n    loop()\n', "", "")


class FakeStacks:
    def __init__(self) -> None:
        self.text = ""
        self.dumps = 0

    async def dump(self, pid: int) -> str:
        self.dumps += 1
        return self.text

    def read(self) -> str:
        return self.text


class FakeWitness:
    def __init__(self) -> None:
        self.stacks = FakeStacks()
        self.answer: Answer | None = ANSWER

    async def ask(self, seconds: float) -> Answer | None:
        return self.answer


class FakeSeat:
    slot = 0


class FakeWorker:
    """Ready since second 100."""

    id, pid, name, started, ready_after, phase = 1, 4711, "worker 1 (pid 4711)", 99.0, 1.0, "lifespan startup"
    seat = FakeSeat()

    def __init__(self) -> None:
        self.state = State.READY
        self.silent = False
        self.killed = self.evidence = self.last_words = ""
        self.witness = FakeWitness()

    def kill(self, why: str) -> None:
        self.killed = why


class World:
    """A watchdog and all that it sees. Time is what `at` says."""

    def __init__(self, root: Path, **options: object) -> None:
        self.fake = FakeWorker()
        self.worker = cast(Worker, self.fake)
        self.slot: dict[str, Any] = {"heartbeat_ns": 0, "in_flight": 0, "current": None, "waiting": []}
        self.now = 100.0
        self.acts: list[str] = []
        self.root = root
        config = Config.make("app:app", **options)
        self.watchdog = Watchdog(config, self, lambda slot: self.slot, clock=lambda: self.now, root=root)

    def relieve(self, worker: Worker, silent: bool) -> None:
        worker.silent = silent
        self.acts.append("relieved" if silent else "serves again")

    def retire(self, worker: Worker, why: str) -> None:
        self.acts.append(f"retired: {why}")

    def condemn(self, worker: Worker, why: str, seconds: float | None) -> None:
        self.acts.append(f"condemned: {why}")

    def pardon(self, worker: Worker, why: str) -> None:
        self.acts.append(f"pardoned: {why}")

    def beat(self) -> None:
        self.slot["heartbeat_ns"] = int(self.now * 1e9)

    def thread(self, state: str, cpu: float) -> None:
        """What the kernel says of the loop's thread."""
        path = self.root / "proc/4711/task/4711/stat"
        path.parent.mkdir(parents=True, exist_ok=True)
        ticks = int(cpu * os.sysconf("SC_CLK_TCK"))
        path.write_text(f"4711 (py (x) 1) {state} 1 1 1 0 -1 4194304 0 0 0 0 {ticks} 0 0 0\n")

    async def at(self, second: float, *, tick: bool = True) -> None:
        """The watchdog's look at this time, and what follows from it."""
        self.now = second
        if tick:
            self.watchdog.tick(second)
        if self.worker.state is not State.ENDED:
            self.watchdog.look(self.worker, self.slot, second)
        while pending := set(self.watchdog._tasks):
            await asyncio.wait(pending)

    async def pass_to(self, second: float) -> None:
        """Every second until then."""
        while self.now + 1 < second:
            await self.at(self.now + 1)
        await self.at(second)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    monkeypatch.setattr("swell.supervisor.watchdog.log.propagate", True)
    caplog.set_level(logging.INFO, "swell")
    return lambda: [record.getMessage() for record in caplog.records]


Said = Callable[[], list[str]]


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_a_busy_worker_that_beats_is_never_touched(tmp_path: Path, said: Said) -> None:
    async def scenario() -> None:
        world = World(tmp_path, timeout_worker_stuck=3)
        world.slot["in_flight"] = 5000
        for second in range(101, 200):
            world.now = second - 0.9
            world.beat()
            await world.at(second)
        assert world.acts == []
        assert said() == []

    run(scenario())


def test_a_silent_worker_is_relieved_and_gets_back_what_it_had(tmp_path: Path, said: Said) -> None:
    async def scenario() -> None:
        world = World(tmp_path, timeout_worker_stuck=30)
        await world.pass_to(105)
        assert world.acts == ["relieved"]
        world.beat()
        await world.at(106)
        assert world.acts == ["relieved", "serves again"]
        assert said() == []

    run(scenario())


def test_without_a_limit_nobody_is_replaced(tmp_path: Path, said: Said) -> None:
    async def scenario() -> None:
        world = World(tmp_path, timeout_worker_stuck="off")
        await world.pass_to(500)
        assert world.acts == ["relieved"]
        assert said() == []

    run(scenario())


def test_one_warning_and_one_entry_tell_everything(tmp_path: Path, said: Said) -> None:
    async def scenario() -> None:
        world = World(tmp_path, timeout_worker_stuck=20)
        world.thread("R", 7.0)
        world.slot["in_flight"] = 2
        world.slot["waiting"] = [{"line": "GET /wait", "since_ns": 1}]
        await world.pass_to(102)
        world.thread("R", 24.0)
        await world.pass_to(140)
        assert world.acts == ["relieved", "condemned: its event loop is blocked by code that computes without a pause"]
        warning, entry = said()
        assert warning == (
            "worker 1 (pid 4711): its event loop has not moved for 5.0 s while it serves GET /spin;"
            " it is replaced at 20 s (--timeout-worker-stuck)"
        )
        assert entry.splitlines() == [
            "worker 1 (pid 4711) is stuck: its event loop is blocked by code that computes without a pause"
            " (94 % of a core), for 20.0 s; another one takes its place",
            "  in the request GET /spin, task 'task-1'",
            "  it serves 2 requests (GET /wait, ...)",
            "  stack of the event loop's thread:",
            '    File "app.py", line 3, in app',
            "      loop()",
        ]
        assert world.fake.witness.stacks.dumps == 0

    run(scenario())


def test_who_does_not_answer_holds_the_gil(tmp_path: Path, said: Said) -> None:
    async def scenario() -> None:
        world = World(tmp_path, timeout_worker_stuck=4)
        world.thread("S", 7.0)
        world.fake.witness.answer = None
        world.fake.witness.stacks.text = 'Current thread 0x1 (most recent call first):\n  File "app.py", line 9 in app'
        world.slot.update(in_flight=1, current={"line": "GET /native", "since_ns": 1})
        await world.pass_to(110)
        assert world.acts[1:] == ["condemned: native code that waits holds the GIL and lets no Python code run"]
        assert said()[-1].splitlines()[1:] == [
            "  in the request GET /native",
            "  it serves 1 request (GET /native)",
            "  Current thread 0x1 (most recent call first):",
            '    File "app.py", line 9 in app',
        ]

    run(scenario())


def test_a_stopped_process_is_not_asked_for_stacks(tmp_path: Path, said: Said) -> None:
    async def scenario() -> None:
        world = World(tmp_path, timeout_worker_stuck=4)
        world.thread("T", 7.0)
        world.fake.witness.answer = None
        await world.pass_to(110)
        assert world.acts[1:] == ["condemned: its process is stopped, by a signal such as SIGSTOP or by a debugger"]
        assert world.fake.witness.stacks.dumps == 0

    run(scenario())


def test_who_comes_back_before_its_successor_is_ready_is_spared(tmp_path: Path, said: Said) -> None:
    async def scenario() -> None:
        world = World(tmp_path, timeout_worker_stuck=4)
        await world.pass_to(110)
        assert not world.watchdog.moves(world.worker)
        world.beat()
        assert world.watchdog.moves(world.worker)
        await world.at(110.5)
        assert world.acts[2:] == ["serves again", "pardoned: its event loop stood still for 10.0 s"]
        assert said()[-1] == "worker 1 (pid 4711): its event loop moves again after 10.0 s"

    run(scenario())


def test_who_comes_back_while_it_is_examined_is_replaced_without_force(tmp_path: Path, said: Said) -> None:
    async def scenario() -> None:
        world = World(tmp_path, timeout_worker_stuck=4)

        async def interrupting(pid: int) -> str:
            world.beat()
            return "File"

        world.fake.witness.answer = None
        world.fake.witness.stacks.dump = interrupting  # type: ignore[method-assign]
        await world.pass_to(104)
        assert world.acts == [
            "relieved",
            "retired: its event loop stood still: native code holds the GIL and lets no Python code run",
        ]

    run(scenario())


def test_a_parent_that_was_away_itself_accuses_nobody(tmp_path: Path, said: Said) -> None:
    """A container that was frozen for an hour: everybody's heartbeat is old, and nobody is stuck."""

    async def scenario() -> None:
        world = World(tmp_path, timeout_worker_stuck=30)
        world.beat()
        await world.at(101)
        await world.at(3700)
        assert world.acts == []
        await world.pass_to(3703)
        assert world.acts == ["relieved"]

    run(scenario())


def test_a_worker_that_is_silent_at_the_end_of_the_instance_does_not_delay_it(tmp_path: Path, said: Said) -> None:
    async def scenario() -> None:
        world = World(tmp_path, timeout_worker_stuck=4)
        await world.pass_to(102)
        world.fake.state = State.DRAINING
        await world.pass_to(110)
        assert world.acts == ["relieved"]
        assert world.fake.killed == "its event loop is blocked"

    run(scenario())


def test_a_late_start_names_the_phase_and_where_it_hangs(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path, timeout_worker_start=5)
        world.fake.state = State.STARTING
        world.fake.witness.answer = Answer("", "", "  File selectors.py", "", "  File app.py, line 7")
        world.watchdog.late_to_start(world.worker)
        await asyncio.wait(world.watchdog._tasks)
        assert world.fake.killed == "lifespan startup did not end within 5 s (--timeout-worker-start)"
        assert world.watchdog.autopsy(world.worker, signal.SIGKILL) == (
            world.fake.killed,
            "",
            "\n  the application's lifespan waits:\n    File app.py, line 7",
        )

    run(scenario())


def test_a_start_that_succeeds_while_it_is_examined_is_spared(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        world.watchdog.late_to_start(world.worker)
        await asyncio.wait(world.watchdog._tasks)
        assert world.fake.killed == ""

    run(scenario())


def autopsy(world: World, status: int) -> tuple[str, str, str]:
    return world.watchdog.autopsy(world.worker, status)


def test_the_dead_tell_what_they_died_of(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.slot.update(in_flight=3, current={"line": "GET /crash", "since_ns": 5})
    world.fake.witness.stacks.text = "Current thread ...\n  File app.py, line 2 in app"
    assert autopsy(world, signal.SIGSEGV) == (
        "SIGSEGV (a crash in native code) in the request GET /crash",
        "; 3 requests lost (GET /crash, ...)",
        "\n  Current thread ...\n    File app.py, line 2 in app",
    )
    assert autopsy(world, signal.SIGKILL)[0] == "SIGKILL (killed from outside)"
    world.slot.update(in_flight=0, current=None)
    world.fake.state, world.fake.last_words = State.STARTING, "sys.exit(5) was called"
    assert autopsy(world, 5 << 8) == ("exit code 5 during lifespan startup", "", "\n  sys.exit(5) was called")


def test_who_was_killed_for_want_of_memory(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    events = tmp_path / "sys/fs/cgroup/memory.events"
    events.parent.mkdir(parents=True)
    events.write_text("oom_kill 4\n")
    world = World(tmp_path)
    assert autopsy(world, signal.SIGKILL)[0] == "SIGKILL (killed from outside)"
    events.write_text("oom_kill 5\n")
    assert autopsy(world, signal.SIGKILL)[0] == "SIGKILL (killed by the kernel: out of memory)"
    assert autopsy(world, signal.SIGKILL)[0] == "SIGKILL (killed from outside)"
