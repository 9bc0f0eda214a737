"""Measures one scenario: all servers side by side, in turns, and the medians of what came out.

Side by side means that all servers are up during all rounds and each round visits each server once, starting with
another one each time: what drifts on the machine drifts for all. Who is not in turn is frozen (SIGSTOP): they share a
core, and some peers spin while idle. Called by `run.py`.
"""

import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rig import h2load, load, procs, syscalls
from rig.environment import RigError, say
from rig.scenarios import BY_NAME, Scenario
from rig.servers import Running, Server, running

IDLE_WATCH_SECONDS = 10.0


@dataclass(frozen=True)
class Settings:
    """How long and how often to measure, and where."""

    rounds: int
    seconds: float
    warmup: float
    server_core: int
    client_core: int
    trace_syscalls: bool
    syscalls_share: float = 1.0
    """Part of a scenario's exchanges that is traced: less in a quick run."""


@dataclass
class Row:
    """One server in one scenario. Fields that do not apply are None; `failure` says why a row is empty."""

    scenario: str
    server: str
    cpu_us: float | None = None
    per_second: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    syscalls: float | None = None
    syscalls_by_name: dict[str, float] = field(default_factory=dict)
    rss_bytes: int | None = None
    pss_bytes: int | None = None
    client_cpu_share: float | None = None
    bytes_per_connection: float | None = None
    idle_cpu_share: float | None = None
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None


def able(server: Server, scenario: Scenario) -> bool:
    """Whether this server has this feature at all."""
    if scenario.kind.startswith("ws"):
        return server.websocket
    if scenario.kind == "http2":
        return server.http2
    return server.applications or scenario.nginx


def measure(scenario: Scenario, servers: Sequence[Server], settings: Settings) -> list[Row]:
    """Measure `scenario` on all `servers`. A server that fails gets a row that says why; the others go on."""
    taking_part = [server for server in servers if able(server, scenario)]
    if scenario.kind == "idle":
        return [_idle(scenario, server, settings) for server in taking_part]
    rows = {server.name: Row(scenario.name, server.name) for server in taking_part}
    with contextlib.ExitStack() as stack:
        up: list[Running] = []
        for server in taking_part:
            try:
                one = stack.enter_context(running(server, scenario.app, settings.server_core))
                one.freeze()
                up.append(one)
            except (RigError, OSError) as error:
                _failed(rows[server.name], f"does not start: {error}")
        for number in range(settings.rounds):
            turn = number % max(len(up), 1)
            for one in up[turn:] + up[:turn]:
                row = rows[one.server.name]
                if row.failure is None:
                    with _in_turn(one, row):
                        _round(scenario, one, row, settings)
        for one in up:
            row = rows[one.server.name]
            if row.failure is None:
                memory = procs.memory(one.process.pid)
                row.rss_bytes, row.pss_bytes = memory.rss, memory.pss
                _medians(row)
                if settings.trace_syscalls and scenario.kind != "http2":
                    with _in_turn(one, row):
                        _trace(scenario, one, row, settings)
    return list(rows.values())


@contextlib.contextmanager
def _in_turn(one: Running, row: Row) -> Iterator[None]:
    """Let the server run for the time of its turn; what goes wrong in it is this row's failure."""
    try:
        one.thaw()
        yield
        one.freeze()
    except ProcessLookupError:
        _failed(row, "the server is gone")
    except RigError as error:
        ended = one.process.poll()
        if ended is None:
            one.freeze()
            _failed(row, str(error))
        else:
            how = f"by signal {-ended}" if ended < 0 else f"with {ended}"
            _failed(row, f"the server ended {how}: {one.complaint()}")


def _failed(row: Row, reason: str) -> None:
    row.failure = reason
    say(f"  {row.server}: {reason}")


def _round(scenario: Scenario, one: Running, row: Row, settings: Settings) -> None:
    core = settings.client_core
    window = h2load.window if scenario.kind == "http2" else load.window
    result = window(scenario, one.address, core, one.pids(), settings.seconds, settings.warmup)
    row.rounds.append(asdict(result))
    say(f"  {row.server}: {result.server_cpu_us:.1f} µs, {result.per_second:,.0f}/s")


def _medians(row: Row) -> None:
    def median(name: str) -> float:
        return float(statistics.median(one[name] for one in row.rounds))

    row.cpu_us = round(median("server_cpu_us"), 3)
    row.per_second = round(median("per_second"), 1)
    row.p50_us = round(median("p50_us"), 1)
    row.p99_us = round(median("p99_us"), 1)
    row.client_cpu_share = round(median("client_cpu_share"), 3)


def _trace(scenario: Scenario, one: Running, row: Row, settings: Settings) -> None:
    requests = max(int(scenario.syscalls_requests * settings.syscalls_share), 20 * scenario.connections)
    try:
        counted = syscalls.count(scenario, one, settings.client_core, requests)
    except RigError as error:
        say(f"  {row.server}: system calls not counted: {error}")
        return
    row.syscalls, row.syscalls_by_name = counted.each, counted.by_name


def _idle(scenario: Scenario, server: Server, settings: Settings) -> Row:
    """Memory that idle connections add to a warm server, and the CPU it uses while nothing happens.

    Memory that was given back by earlier connections would be reused, so each round starts a fresh server.
    """
    row = Row(scenario.name, server.name)
    added: list[float] = []
    shares: list[float] = []
    for _ in range(min(settings.rounds, 3)):
        try:
            with running(server, scenario.app, settings.server_core) as one:
                added_now, share = _hold(scenario, one, settings)
                memory = procs.memory(one.process.pid)
                row.rss_bytes, row.pss_bytes = memory.rss, memory.pss
        except (RigError, OSError) as error:
            _failed(row, str(error))
            return row
        added.append(added_now)
        shares.append(share)
        row.rounds.append({"bytes_per_connection": added_now, "idle_cpu_share": share})
        say(f"  {server.name}: {added_now:,.0f} bytes each, {share:.2%} CPU while idle")
    row.bytes_per_connection = round(statistics.median(added), 1)
    row.idle_cpu_share = round(statistics.median(shares), 5)
    return row


def _hold(scenario: Scenario, one: Running, settings: Settings) -> tuple[float, float]:
    load.window(BY_NAME["get"], one.address, settings.client_core, (), 1.0, 0.2)
    before = procs.memory(one.process.pid).rss
    seen: list[tuple[float, float]] = []

    def look(ready: dict[str, Any]) -> None:
        if ready["open"] != scenario.connections:
            raise RigError(f"only {ready['open']:,} of {scenario.connections:,} connections could be opened")
        added = (procs.memory(one.process.pid).rss - before) / scenario.connections
        cpu = procs.run_seconds(one.pids())
        # A pause that is the measurement itself: nothing is waited for.
        time.sleep(IDLE_WATCH_SECONDS)
        seen.append((added, (procs.run_seconds(one.pids()) - cpu) / IDLE_WATCH_SECONDS))

    last = load.paused(scenario, one.address, settings.client_core, (), look)
    if last["alive"] != scenario.connections:
        raise RigError(f"only {last['alive']:,} of {scenario.connections:,} connections were alive after the pause")
    return seen[0]
