"""What a worker under load loses while `swell profile` watches it, and how true the profile is: ``--help``.

One server, one worker, at full load; windows take turns: nobody looks, the thread of the worker looks, py-spy looks, at
the usual 100 looks a second. Whoever looks has the client's core. Then both watch an application that knows how much of
the time each of two functions took (`apps/bench_shares.py`). Needs to be allowed to look into processes, as root is.
"""

import contextlib
import json
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rig import environment, load, procs, servers, short
from rig.environment import VENV, RigError, say
from rig.scenarios import BY_NAME as SCENARIOS
from rig.servers import BY_NAME, Running, with_options

LOOKERS = {"nobody": "nobody looks", "in-process": "the worker's own thread", "py-spy": "py-spy"}
LOADS = ("get", "fastapi")
Cost = dict[str, list[dict[str, float]]]
# From the command to the first look, which is part of no window.
BEGIN_SECONDS = 3.0
ACCURACY_SECONDS = 20


def main() -> int:
    """Measures, prints, keeps the result."""
    given = short.parse("profiled", "Measure what profiling costs, and how true profiles are.", rounds=5)
    try:
        server_core, client_core = short.prepare(given)
        environment.install("py-spy", failure="py-spy could not be installed:")
        cost = {name: costs(name, server_core, client_core, given.rounds, given.seconds) for name in LOADS}
        truth = shares(server_core, client_core)
    except RigError as error:
        say(f"bench/profiled.py: {error}")
        return 1
    print(report(cost, truth))
    if not given.no_store:
        short.keep("profiled", cost=cost, shares=truth)
    return 0


@contextlib.contextmanager
def serving(core: int, app: str) -> Iterator[tuple[Running, Path]]:
    """Swell, and the directory in which its instance is found."""
    with TemporaryDirectory(prefix="swell-bench-") as name:
        runtime = Path(name)
        swell = with_options(BY_NAME["swell-uvloop"], "--runtime-dir", runtime)
        with servers.running(swell, app, core) as server:
            yield server, runtime


@contextlib.contextmanager
def looking(looker: str, runtime: Path, seconds: float) -> Iterator[subprocess.Popen[str] | None]:
    """`swell profile`, at work; None where nobody looks."""
    if looker == "nobody":
        time.sleep(BEGIN_SECONDS)
        yield None
        return
    words = ("--sampler", looker, "--seconds", str(round(seconds)), "--json", "--runtime-dir", str(runtime))
    command = (VENV / "bin/swell", "profile", *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            time.sleep(BEGIN_SECONDS)
            if process.poll() is not None:
                raise RigError(f"swell profile: {process.communicate()[1]}")
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def costs(name: str, server_core: int, client_core: int, rounds: int, seconds: float) -> Cost:
    """Requests per second, CPU per request, and the share of a core that the one who looks takes, in turns."""
    found: Cost = {looker: [] for looker in LOOKERS}
    scenario = SCENARIOS[name]
    with serving(server_core, scenario.app) as (server, runtime):
        for turn in range(rounds):
            for looker, title in LOOKERS.items():
                say(f"{scenario.title}, round {turn + 1} of {rounds}: {title}")
                with looking(looker, runtime, BEGIN_SECONDS + seconds + 60) as process:
                    watching = [] if process is None else procs.tree(process.pid)
                    before = procs.run_seconds(watching)
                    seen = load.window(scenario, server.address, client_core, server.pids(), seconds, 1.0)
                    used = procs.run_seconds(watching) - before
                row = {"per_second": seen.per_second, "cpu_us": seen.server_cpu_us, "p99_us": seen.p99_us}
                found[looker].append({**row, "share": used / (seconds + 1.0)})
    return found


def shares(server_core: int, client_core: int) -> dict[str, dict[str, float]]:
    """The share of the longer function: as it is, and as it is seen."""
    found: dict[str, dict[str, float]] = {}
    for looker in ("in-process", "py-spy"):
        say(f"shares: {LOOKERS[looker]}")
        with serving(server_core, "bench_shares:app") as (server, runtime):
            busy = (SCENARIOS["get"], server.address, client_core, (), ACCURACY_SECONDS + 2 * BEGIN_SECONDS, 0.0)
            loading = threading.Thread(target=load.window, args=busy)
            loading.start()
            before = _taken(server)
            words = ("--sampler", looker, "--seconds", str(ACCURACY_SECONDS), "--json", "--runtime-dir", str(runtime))
            said = environment.command(VENV / "bin/swell", "profile", *words, failure="swell profile:")
            after = _taken(server)
            loading.join()
        taken = {name: after[name] - before[name] for name in after}
        samples = _samples(json.loads(said))
        total = samples["short"] + samples["long"]
        found[looker] = {
            "true": taken["long"] / sum(taken.values()),
            "seen": samples["long"] / total,
            "samples": total,
        }
    return found


def _taken(server: Running) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.address}/shares", timeout=20) as answer:
        taken: dict[str, float] = json.loads(answer.read())
    return taken


def _samples(document: dict[str, Any]) -> dict[str, int]:
    """How often each of the two was seen anywhere in a stack."""
    found = dict.fromkeys(("short", "long"), 0)
    for number, stack in document["stacks"]:
        functions = {document["frames"][place][0] for place in stack}
        for name in found:
            found[name] += number * (name in functions)
    return found


def report(cost: dict[str, Cost], truth: dict[str, dict[str, float]]) -> str:
    """Two tables in Markdown."""
    lines = ["| | requests/s | | CPU µs per request | p99 ms | share of another core |", "|---" * 6 + "|"]
    for name, rows in cost.items():

        def median(looker: str, key: str, rows: Cost = rows) -> float:
            return statistics.median(row[key] for row in rows[looker])

        for looker, title in LOOKERS.items():
            rate = median(looker, "per_second")
            cells = (
                f"{rate:,.0f}",
                f"{rate / median('nobody', 'per_second') - 1:+.1%}",
                f"{median(looker, 'cpu_us'):.1f}",
                f"{median(looker, 'p99_us') / 1e3:.2f}",
                f"{median(looker, 'share'):.1%}",
            )
            lines.append(f"| {SCENARIOS[name].title}: {title} | {' | '.join(cells)} |")
    lines += ["", "| | share of a function | as seen | samples |", "|---" * 4 + "|"]
    lines += [
        f"| {LOOKERS[looker]} | {row['true']:.1%} | {row['seen']:.1%} | {row['samples']:,.0f} |"
        for looker, row in truth.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
