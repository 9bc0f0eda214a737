"""The checks of `swell doctor` that compare what the options ask for with what there is: workers against CPUs and
memory, threads against limits, pools of connections against the database's maximum; and the clock. Called by `doctor`.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from swell.cli.check import Check
from swell.config import Config
from swell.config.units import show_size
from swell.scaling import read_policy
from swell.supervisor.machine import Machine

__all__ = ["Connections", "capacity", "clock", "clock_cost_ns", "clock_synchronised"]

# A worker of an ordinary application shares most of its pages with the others; this much is its own.
WORKER_MEMORY = 64 << 20
# anyio's limiter, which FastAPI and Starlette run blocking handlers under.
ANYIO_THREADS = 40
# Threads that a worker has besides those of pools: its own, uvloop's or a resolver's, and some of libraries.
OTHER_THREADS = 8
# Read in user space through the vDSO; others take a system call.
_QUICK_CLOCKS = {"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource"}
_SLOW_NS = 500
_TIME_ERROR = 5


class Connections(NamedTuple):
    """What the pool of one worker may open, and what the database takes from all. Only the operator knows both."""

    each: int
    budget: int


def capacity(config: Config, machine: Machine, connections: Connections | None = None) -> Iterator[Check]:
    """What the workers need. `connections` are those of --scale-policy unless they are given."""
    cpus = min(float(machine.cores), machine.cpu_quota or math.inf)
    bounds = config.workers.within(max(1, int(cpus)))
    most = bounds.maximum or bounds.minimum
    yield _workers(bounds.minimum, most, cpus)
    yield from _memory(most, machine)
    if connections is None:
        policy = read_policy(config.scale_policy)
        if policy.connections_per_worker is not None and policy.connection_budget is not None:
            connections = Connections(int(policy.connections_per_worker), int(policy.connection_budget))
    yield _threads(config, most, machine, budgeted=connections is not None)
    if connections is not None:
        yield _database(connections, bounds.minimum, most)


def _workers(least: int, most: int, cpus: float) -> Check:
    value = f"{least if least == most else f'{least}..{most}'} on {cpus:g} CPU{'' if cpus == 1 else 's'}"
    if least > 2 * math.ceil(cpus) + 1:
        advice = f"they take the CPUs from each other, and memory each: --workers 1..{2 * math.ceil(cpus)}"
        return Check("workers", "warn", value, advice)
    if most < math.floor(cpus):
        return Check("workers", "ok", value, "--workers auto uses all of them, as the load asks")
    return Check("workers", "ok", value)


def _memory(most: int, machine: Machine) -> Iterator[Check]:
    known = [size for size in (machine.memory_limit, machine.memory_total) if size]
    if not known or most == 1:
        return
    each = min(known) // most
    value = f"{show_size(each >> 20 << 20)} for each of {most} workers"
    if each < WORKER_MEMORY:
        advice = f"too little for Python and an application: --workers {max(1, min(known) // WORKER_MEMORY)}, or more"
        yield Check("memory each", "warn", value, advice)
    else:
        yield Check("memory each", "ok", value)


def _threads(config: Config, most: int, machine: Machine, *, budgeted: bool) -> Check:
    executor = min(32, (os.cpu_count() or 1) + 4)  # what asyncio and concurrent.futures take
    pools = [f"asyncio.to_thread {executor}", f"anyio {ANYIO_THREADS}"]
    each = executor + ANYIO_THREADS
    if config.interface == "wsgi":
        pools, each = [f"WSGI {config.wsgi_threads}"], config.wsgi_threads
    value = f"{', '.join(pools)} per worker; {each * most} in all"
    needed = most * (each + OTHER_THREADS) + OTHER_THREADS
    if machine.pids_limit is not None and machine.pids_limit < needed:
        advice = (
            f"the limit of processes and threads is {machine.pids_limit}: raise it to {needed} (TasksMax= in the"
            " systemd unit, --pids-limit for docker), or have fewer"
        )
        return Check("threads", "warn", value, advice)
    if budgeted:
        return Check("threads", "ok", value)
    advice = "each may hold a database connection: --pool-size and --database-max compare those with what it takes"
    return Check("threads", "ok", value, advice)


def _database(connections: Connections, least: int, most: int) -> Check:
    each, budget = connections
    room = budget // each
    if least > room:
        value = f"{least} × {each} = {least * each} of {budget} connections"
        fewer = f"--workers {room}, " if room else ""
        advice = f"it refuses what is beyond: {fewer}a smaller pool in each worker, or a larger maximum there"
        return Check("database", "warn", value, advice)
    few = min(most, room)
    advice = f"the budget holds the workers at {few}" if few < most else ""
    if 2 * few * each > budget:
        # Replacing comes before removing.
        beside = f"a reload has old and new workers side by side, with up to {2 * few * each} connections"
        advice = f"{advice}; {beside}" if advice else beside
    return Check("database", "ok", f"{few} × {each} = {few * each} of {budget} connections", advice)


def clock(machine: Machine, cost: int, synchronised: bool | None) -> Check:
    """Whether it is quick and right. `cost` is of one look, in nanoseconds."""
    value = f"{machine.clock_source or 'unknown source'}, {cost} ns to read"
    if machine.clock_source not in (None, *_QUICK_CLOCKS) and cost > _SLOW_NS:
        advice = "several reads per request, each a system call: let the kernel use tsc (clocksource=tsc at boot)"
        return Check("clock", "warn", value, advice)
    if synchronised is False:
        advice = "times in logs and traces of several machines do not fit together: run chrony or systemd-timesyncd"
        return Check("clock", "warn", f"{value}, not synchronised", advice)
    return Check("clock", "ok", value)


def clock_cost_ns() -> int:
    """The quickest of some rounds: what others do meanwhile does not count."""
    rounds = []
    for _ in range(5):
        begun = time.perf_counter_ns()
        for _ in range(1000):
            time.monotonic_ns()
        rounds.append((time.perf_counter_ns() - begun) // 1000)
    return min(rounds)


def clock_synchronised() -> bool | None:
    """adjtimex(2), reading only; None where nobody says."""
    if sys.platform != "linux":
        return None
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR
