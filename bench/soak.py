"""A compressed soak: minutes of mixed load with clients that leave at random points. ``python bench/soak.py --help``.

Cycles of load, each followed by quiet. During load the load generator walks through the scenarios and verifies every
answer while a crowd of slow and leaving clients (`rig.chaos`) comes and goes. In the quiet, with no client left,
memory, descriptors and the interpreter's blocks are read: after the warm-up cycles they have to stay where they are.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
import urllib.request
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rig import environment, load, machine, procs, servers
from rig.chaos import Crowd
from rig.environment import RigError, say
from rig.scenarios import BY_NAME, Scenario
from rig.servers import with_admin
from rig.watchers import Watchers

RESULTS = Path(__file__).resolve().parent / "results"
MIX = ("get", "post-1k", "pipeline", "stream", "ws-echo", "later", "post-64k", "connect", "get-browser")
MAX_SECONDS = 300
CYCLE_SECONDS = 15.0
WINDOW_SECONDS = 1.5
WARM_CYCLES = 2
CROWD = 24
CONNECTIONS = 32
QUIET_LIMIT_SECONDS = 10.0
# What may be added between the end of the warm-up and the end: allocator noise, not a leak per request.
RSS_GROWTH = 0.02
RSS_GROWTH_BYTES = 1 << 20
BLOCKS_GROWTH = 0.005


@dataclass(frozen=True)
class Quiet:
    """The server between two cycles, without clients."""

    seconds: float
    rss_bytes: int
    parent_rss_bytes: int
    """Of the process that was started. The others are its workers, and what they are forked from."""
    descriptors: int
    blocks: int
    requests: int


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench/soak.py", description="Soak one server with mixed, hostile load.")
    add = parser.add_argument
    add("--server", default="swell-uvloop", choices=[name for name in servers.BY_NAME if name != "nginx"])
    add("--seconds", type=float, default=240.0, help=f"time under load, at most {MAX_SECONDS} (240)")
    add("--watched", action="store_true", help="with the admin address, two dashboards and a scrape each second")
    add("--seed", type=int, default=1, help="for the clients' choices (1)")
    add("--wheel", type=Path, metavar="FILE", help="use this wheel instead of the checkout")
    add("--no-build", action="store_true", help="use the Swell that bench/.venv holds already")
    add("--no-store", action="store_true", help="do not keep the result")
    return parser.parse_args()


def windows(scenarios: list[Scenario], address: str, core: int, until: float) -> tuple[int, list[str]]:
    """Walk through the scenarios until the time is up; gives verified exchanges and failures."""
    completed = 0
    failures: list[str] = []
    turn = 0
    while time.monotonic() < until:
        scenario = scenarios[turn % len(scenarios)]
        turn += 1
        try:
            completed += load.window(scenario, address, core, (), WINDOW_SECONDS, 0.1).completed
        except RigError as error:
            failures.append(f"{scenario.name}: {error}")
    return completed, failures


async def cycle(one: servers.Running, crowd: Crowd, core: int, seconds: float, turn: int) -> tuple[int, list[str]]:
    """One cycle of load. It starts with another scenario each time."""
    usable = [BY_NAME[name] for name in MIX if one.server.websocket or not name.startswith("ws")]
    order = usable[turn % len(usable) :] + usable[: turn % len(usable)]
    mixed = [Scenario(**{**asdict(each), "connections": CONNECTIONS}) for each in order]
    stop = asyncio.Event()
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        group.create_task(crowd.run(CROWD, stop))
        completed, failures = await asyncio.to_thread(windows, mixed, one.address, core, until)
        stop.set()
    return completed, failures


def look(one: servers.Running, since: float, requests: int) -> Quiet:
    """Wait until the server has let go of all connections, then read what it holds."""
    _wait_quiet(one)
    with urllib.request.urlopen(f"http://{one.address}/blocks", timeout=10) as answer:
        blocks = int(answer.read())
    _wait_quiet(one)
    pid = one.process.pid
    rss, parent = procs.memory(pid).rss, procs.resident(pid)
    return Quiet(round(time.monotonic() - since, 1), rss, parent, procs.descriptors(pid), blocks, requests)


def _wait_quiet(one: servers.Running) -> None:
    """Wait until no connection is left and the number of descriptors stands still."""
    deadline = time.monotonic() + QUIET_LIMIT_SECONDS
    descriptors = procs.descriptors(one.process.pid)
    while time.monotonic() < deadline:
        time.sleep(0.25)
        now = procs.descriptors(one.process.pid)
        if now == descriptors and _established(one.port) == 0:
            return
        descriptors = now


def _established(port: int) -> int:
    """Connections to this local port that are established or wait for the server to close (states 01 and 08)."""
    mark = f":{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return sum(1 for each in fields if each[1].endswith(mark) and each[3] in ("01", "08"))


def verdict(quiet: list[Quiet], lost: dict[str, int], failures: list[str]) -> list[str]:
    """What is wrong; nothing when the soak is passed."""
    wrong = [f"lost: {reason} ({count} times)" for reason, count in lost.items()] + failures
    warm, rest = quiet[WARM_CYCLES], quiet[WARM_CYCLES + 1 :]
    if not rest:
        return [*wrong, "too short: no cycle after the warm-up"]
    last = rest[-1]
    for what, before, after in (
        ("memory", warm.rss_bytes, last.rss_bytes),
        ("the parent's memory", warm.parent_rss_bytes, last.parent_rss_bytes),
    ):
        if after - before > max(RSS_GROWTH * before, RSS_GROWTH_BYTES):
            wrong.append(f"{what} grew from {before:,} to {after:,} bytes")
    if last.descriptors > warm.descriptors:
        wrong.append(f"descriptors grew from {warm.descriptors} to {last.descriptors}")
    if last.blocks - warm.blocks > BLOCKS_GROWTH * warm.blocks:
        wrong.append(f"allocated blocks grew from {warm.blocks:,} to {last.blocks:,}")
    return wrong


def soak(args: argparse.Namespace) -> int:
    """Run all cycles and judge."""
    if not 4 * CYCLE_SECONDS <= args.seconds <= MAX_SECONDS:
        raise RigError(f"--seconds goes from {4 * CYCLE_SECONDS:.0f} to {MAX_SECONDS}")
    environment.prepare_python(fresh=False)
    environment.prepare_load()
    if args.server.startswith("swell"):
        environment.prepare_swell(args.wheel, build=not args.no_build)
    machine.raise_file_limit()
    server_core, client_core = machine.choose_cores(None, None)
    os.sched_setaffinity(0, {client_core})
    server = servers.BY_NAME[args.server]
    watchers = None
    if args.watched:
        admin = servers.free_port()
        server, watchers = with_admin(server, admin), Watchers(admin)
    total = 0
    failures: list[str] = []
    with (
        servers.running(server, "bench_app:app", server_core) as one,
        watchers.looking() if watchers else contextlib.nullcontext(),
    ):
        crowd = Crowd(servers.HOST, one.port, args.seed, server.websocket)
        start = time.monotonic()
        quiet = [look(one, start, 0)]
        for turn in range(int(args.seconds // CYCLE_SECONDS)):
            completed, failed = asyncio.run(cycle(one, crowd, client_core, CYCLE_SECONDS, turn))
            total += completed
            failures += failed
            if one.process.poll() is not None:
                raise RigError(f"the server ended with {one.process.returncode}: {one.complaint()}")
            quiet.append(look(one, start, total))
            now = quiet[-1]
            say(
                f"{now.seconds:6.0f} s  {now.requests:>12,} requests  {sum(crowd.done.values()):>8,} clients  "
                f"{now.rss_bytes / 1e6:6.1f} MB, the parent {now.parent_rss_bytes / 1e6:.1f}  "
                f"{now.descriptors} descriptors  {now.blocks:,} blocks"
            )
        complaints = one.complaint()
    if watchers:
        watchers.check(args.seconds)
    wrong = verdict(quiet, dict(crowd.lost), failures)
    document: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "versions": environment.versions(),
        "server": server.name,
        "watched": args.watched,
        "seed": args.seed,
        "requests": total,
        "clients": dict(crowd.done),
        "quiet": [asdict(each) for each in quiet],
        "wrong": wrong,
    }
    print(json.dumps({name: document[name] for name in ("server", "requests", "clients", "wrong")}, indent=1))
    if wrong:
        say(f"the server's last words: {complaints}")
    if not args.no_store:
        RESULTS.mkdir(exist_ok=True)
        stamp = document["date"].replace(":", "").replace("T", "-").removesuffix("Z")
        path = RESULTS / f"soak-{stamp}-{server.name}{'-watched' if args.watched else ''}.json"
        path.write_text(json.dumps(document, indent=1) + "\n")
        say(f"kept as bench/results/{path.name}")
    return 1 if wrong else 0


def main() -> int:
    """Run, and turn what the user can mend into one clear message."""
    try:
        return soak(parse())
    except (RigError, OSError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
