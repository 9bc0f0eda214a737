"""The measurements of `bench/lifecycle.py`: one function per line of its table. Each gives what it saw, or None for
"cannot".

Starts are timed by the application itself, when its lifespan startup is through, so that all servers are seen alike.
Losses are counted by the steady load of the tests (`tests/support/steady.py`). Times are seconds, sizes bytes.
"""

import os
import resource
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.steady import Steady, steady_load

from rig import load, procs
from rig.environment import RigError
from rig.many import Instance, Many, instance
from rig.scenarios import HELLO, Scenario

Seen = dict[str, Any] | None

WORKERS = 4
SETTLE_SECONDS = 45.0  # gunicorn gives old WebSockets its 30 s of grace
OTHERS = 0.04  # of the machine: a window in which other processes took more does not count
TRIES = 6  # for each window that is wanted
BURN = Scenario("burn", "0.3 ms of computing", ("--path", "/burn", *HELLO))
GET = Scenario("get", "GET 13 B", HELLO)


@dataclass(frozen=True)
class Effort:
    """How often and how long."""

    rounds: int = 5
    reloads: int = 3
    kills: int = 20
    idle_seconds: float = 10.0
    window_seconds: float = 2.0
    windows: int = 3


def first_start(many: Many, effort: Effort) -> Seen:
    """From the command line to the first worker, and to the fourth."""
    first, all_ready = [], []
    for _ in range(effort.reloads):
        with instance(many, WORKERS) as running:
            starts = running.starts()
            first.append(starts[0].at - running.started)
            all_ready.append(starts[WORKERS - 1].at - running.started)
    return {"first": statistics.median(first), "all": statistics.median(all_ready)}


def memory(many: Many, effort: Effort) -> Seen:
    """Proportional memory of everything with one worker and with four, each of which has answered requests."""
    sizes = []
    for workers in (1, WORKERS):
        with instance(many, workers) as running:
            with steady_load((running.address.partition(":")[0], running.port), seconds=60) as steady:
                _all_answer(steady, running, workers)
            sizes.append(procs.memory(running.process.pid))
    one, four = sizes
    return {"one": one.pss, "four": four.pss, "each": (four.pss - one.pss) / (WORKERS - 1), "rss_four": four.rss}


def _all_answer(steady: Steady, running: Instance, workers: int) -> None:
    """Until each worker has answered something, or a second of load has gone by: not every server shares evenly."""
    try:
        steady.wait(lambda report: len(report.workers()) >= workers and report.answered >= 300, "all answer", 5.0)
    except AssertionError:
        if steady.report.answered < 300:
            raise


def add_worker(many: Many, effort: Effort) -> Seen:
    """From the signal to a further worker's readiness."""
    if many.more is None:
        return None
    took = []
    with instance(many, many.fewest) as running:
        for number in range(effort.rounds):
            before = time.monotonic()
            running.process.send_signal(many.more)
            took.append(running.wait_starts(many.fewest + 1 + number)[-1].at - before)
    return {"seconds": statistics.median(took), "rounds": took}


def under_load(many: Many, workers: int, what: Callable[[Instance, Steady], float], rounds: int = 1) -> dict[str, Any]:
    """Does `what` under the steady load. It gives the time that it took."""
    with instance(many, workers) as running:
        with steady_load((running.address.partition(":")[0], running.port), seconds=150, most=100_000) as steady:
            steady.wait_answers(300)
            took = [what(running, steady) for _ in range(rounds)]
            steady.wait_answers(300)
        report = steady.report
        hows: dict[str, int] = {}
        for loss in report.lost:
            hows[f"{loss.kind}: {loss.how.value}"] = hows.get(f"{loss.kind}: {loss.how.value}", 0) + 1
        sessions = sum(loss.kind == "websocket" for loss in report.lost)
        return {
            "seconds": statistics.median(took),
            "rounds": took,
            "lost": len(report.lost) - sessions,
            "lost_websockets": sessions,
            "lost_by_kind": hows,
            "retried": len(report.retried),
            "requests": report.started.total(),
            "p99_keep_alive": report.latency(0.99, "keep-alive"),
            "worst_keep_alive": report.latency(1.0, "keep-alive"),
        }


def scale(many: Many, effort: Effort) -> Seen:
    """From one worker to four, a signal at a time, under load."""
    more = many.more
    if more is None or many.fewest > 1:
        return None

    def grow(running: Instance, steady: Steady) -> float:
        before = time.monotonic()
        for count in range(2, WORKERS + 1):
            running.process.send_signal(more)
            last = running.wait_starts(count)[count - 1].at
        return last - before

    return under_load(many, 1, grow)


def reload(many: Many, effort: Effort) -> Seen:
    """From the signal to the first answer of the new code, and to the last one of the old, under load."""
    hup = many.reload
    if hup is None:
        return None
    generation = 1
    first = []

    def change(running: Instance, steady: Steady) -> float:
        nonlocal generation
        generation += 1
        running.write(generation)
        before = time.monotonic()
        running.process.send_signal(hup)
        running.wait_starts(WORKERS * generation)
        steady.wait_generation(generation, 200, SETTLE_SECONDS)
        answers = steady.report.answers
        first.append(next(one.at for one in answers if one.generation == generation) - before)
        return max(one.at for one in answers if one.generation < generation) - before

    return {**under_load(many, WORKERS, change, effort.reloads), "first": statistics.median(first)}


def kill(many: Many, effort: Effort) -> Seen:
    """From `kill -9` of a worker to its successor's readiness, under load; one a second."""
    if not many.respawns:
        return None
    due = 0.0

    def shoot(running: Instance, steady: Steady) -> float:
        nonlocal due
        steady.wait(lambda _: time.monotonic() >= due, "the next second")
        starts = len(running.starts())
        before = time.monotonic()
        due = before + 1.0
        os.kill(running.workers()[0], signal.SIGKILL)
        took = running.wait_starts(starts + 1)[-1].at - before
        steady.wait_answers(100)
        return took

    return under_load(many, WORKERS, shoot, effort.kills)


def upgrade(many: Many, effort: Effort) -> Seen:
    """From the signal to the last answer of the old instance: parent, interpreter and workers are new then."""
    usr2 = many.upgrade
    if usr2 is None:
        return None

    def replace(running: Instance, steady: Steady) -> float:
        old = set(running.workers())
        running.write(2)
        before = time.monotonic()
        running.process.send_signal(usr2)
        running.wait_starts(2 * WORKERS)
        if not many.retires_itself:
            running.process.send_signal(signal.SIGTERM)
        steady.wait_generation(2, 200, SETTLE_SECONDS)
        return max(one.at for one in steady.report.answers if one.worker in old) - before

    return under_load(many, WORKERS, replace)


def idle(many: Many, effort: Effort) -> Seen:
    """Share of a core that the parent takes, and all processes together, with eight workers and nothing to do."""
    with instance(many, 8) as running:
        tree = procs.tree(running.process.pid)
        time.sleep(2.0)  # what is left of the start
        before = {pid: procs.run_seconds([pid]) for pid in tree}
        since = time.monotonic()
        time.sleep(effort.idle_seconds)
        took = time.monotonic() - since
        after = {pid: procs.run_seconds([pid]) for pid in tree}
    parent = running.process.pid
    return {
        "parent": (after[parent] - before[parent]) / took,
        "all": (sum(after.values()) - sum(before.values())) / took,
        "seconds": took,
    }


def speed(many: Many, effort: Effort) -> Seen:
    """Requests per second of two workers against one, with 0.3 ms of computing each; and processor time per small GET
    with two workers. The client shares the machine's cores with them; what it took is kept."""
    seen: dict[str, Any] = {}
    for workers in (1, 2):
        with instance(many, workers, "bench_app:app") as running:
            time.sleep(0.5)  # the second worker may still be importing
            for scenario in (BURN, GET):
                result = _calm_window(scenario, running, effort)
                seen[f"{scenario.name}_{workers}"] = result.per_second
                seen[f"{scenario.name}_{workers}_cpu_us"] = result.server_cpu_us
                seen[f"{scenario.name}_{workers}_client"] = result.client_cpu_share
    seen["ratio"] = seen["burn_2"] / seen["burn_1"]
    return seen


def _calm_window(scenario: Scenario, running: Instance, effort: Effort) -> load.Result:
    """The one in the middle of so many in which the machine had next to nothing else to do: all cores are taken, so
    every other process would count."""
    cores = sorted(os.sched_getaffinity(0))
    good: list[load.Result] = []
    for _ in range(TRIES * effort.windows):
        before, since = _others(running), time.monotonic()
        result = load.window(
            scenario, running.address, ",".join(map(str, cores)), running.pids(), effort.window_seconds, 0.5
        )
        others = (_others(running) - before) / (time.monotonic() - since) / len(cores)
        if others <= OTHERS:
            good.append(result)
        if len(good) == effort.windows:
            return sorted(good, key=lambda one: one.per_second)[len(good) // 2]
    raise RigError(f"the machine is busy with something else ({others:.0%} of it)")


def _others(running: Instance) -> float:
    """Processor seconds of everything but the server and the clients that have ended."""
    clients = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours = procs.cpu_seconds(running.process.pid) + clients.ru_utime + clients.ru_stime
    return procs.machine_seconds() - ours


MEASURES: dict[str, Callable[[Many, Effort], Seen]] = {
    "start": first_start,
    "add": add_worker,
    "memory": memory,
    "scale": scale,
    "reload": reload,
    "kill": kill,
    "upgrade": upgrade,
    "idle": idle,
    "speed": speed,
}


def measure(name: str, many: Many, effort: Effort) -> Seen:
    """One cell. What goes wrong is the cell's failure, and the others go on."""
    try:
        return MEASURES[name](many, effort)
    except (RigError, AssertionError, OSError) as error:
        return {"failure": str(error).splitlines()[0][:300]}
