"""What it costs to look: CPU of a GET with everything watching, and with nothing. ``python bench/observed.py --help``.

Three servers take turns on one core: `swell.Server` alone, which has neither parent nor scoreboard; `swell serve`,
which counts and can be asked; and that with the admin address, two pages open on the dashboard's live data, a scrape
of `/metrics` each second and the watch for slow turns. All processes of a server are counted, the parent's, too.
Whoever looks runs on the client's core.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rig import environment, load, machine, scenarios, servers
from rig.environment import APPS, VENV, RigError, say
from rig.servers import BY_NAME, Server, with_admin
from rig.watchers import Watchers

RESULTS = Path(__file__).resolve().parent / "results"
ALLOWED = 1.05


def _bare(app: str, port: int, directory: Path) -> Sequence[str | Path]:
    return [VENV / "bin/python", APPS / "bench_bare.py", app, str(port)]


def _plain(app: str, port: int, directory: Path) -> Sequence[str | Path]:
    return [*BY_NAME["swell-uvloop"].command(app, port, directory), "--slow-callback", "off"]


def variants(admin: int) -> list[Server]:
    """What is compared. `admin` is the port of the admin address."""
    watched = with_admin(BY_NAME["swell-uvloop"], admin)
    return [
        Server("bare", "`swell.Server` alone: everything off", _bare),
        Server("serve", "`swell serve`, nobody looks", _plain),
        replace(watched, name="watched", title="`swell serve`, everything on and looked at"),
    ]


def main() -> int:
    """Measures, prints the table, keeps the result."""
    parser = argparse.ArgumentParser(prog="bench/observed.py", description="Measure what being watched costs.")
    parser.add_argument("--rounds", type=int, default=5, help="turns per server (5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a measured window (3)")
    parser.add_argument("--no-build", action="store_true", help="measure the Swell that bench/.venv holds already")
    parser.add_argument("--no-store", action="store_true", help="do not keep the result")
    given = parser.parse_args()
    try:
        environment.prepare_python(fresh=False)
        environment.prepare_load()
        environment.prepare_swell(None, build=not given.no_build)
        server_core, client_core = machine.choose_cores(None, None)
        os.sched_setaffinity(0, {client_core})
        admin = servers.free_port()
        compared = variants(admin)
        found = measure(compared, admin, server_core, client_core, given.rounds, given.seconds)
    except RigError as error:
        say(f"bench/observed.py: {error}")
        return 1
    medians = {name: statistics.median(values) for name, values in found.items()}
    print(table(medians, compared))
    if not given.no_store:
        now = datetime.now(UTC)
        commit = machine.commit()
        path = RESULTS / f"observed-{now:%Y-%m-%d-%H%M%S}-{str(commit['commit'])[:10]}.json"
        kept = {"at": now.isoformat(), "machine": machine.describe(), **commit, "cpu_us": found, "medians": medians}
        path.write_text(json.dumps(kept, indent=1) + "\n")
        say(f"kept: {path.name}")
    return 0


def measure(
    compared: list[Server], admin: int, server_core: int, client_core: int, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """CPU µs per request of each variant, a figure per round."""
    scenario = scenarios.BY_NAME["get"]
    found: dict[str, list[float]] = {variant.name: [] for variant in compared}
    with contextlib.ExitStack() as stack:
        up = []
        for variant in compared:
            one = stack.enter_context(servers.running(variant, scenario.app, server_core))
            one.freeze()
            up.append(one)
        for number in range(rounds):
            turn = number % len(up)
            for one in up[turn:] + up[:turn]:
                one.thaw()
                watchers = Watchers(admin) if one.server.name == "watched" else None
                with watchers.looking() if watchers else contextlib.nullcontext():
                    result = load.window(scenario, one.address, client_core, one.pids(), seconds, 0.5)
                one.freeze()
                if watchers:
                    watchers.check(seconds)
                found[one.server.name].append(result.server_cpu_us)
                say(f"  {one.server.title}: {result.server_cpu_us:.2f} µs, {result.per_second:,.0f}/s")
    return found


def table(medians: dict[str, float], compared: list[Server]) -> str:
    """In Markdown, with the ratios, and whether what was set out to is reached."""
    lines = ["| GET 13 B, uvloop | CPU µs | ratio |", "|---|---:|---:|"]
    for variant in compared:
        ratio = medians[variant.name] / medians["bare"]
        lines.append(f"| {variant.title} | {medians[variant.name]:.2f} | {ratio:.3f} |")
    ratio = medians["watched"] / medians["bare"]
    verdict = "reached" if ratio <= ALLOWED else "MISSED"
    return "\n".join([*lines, "", f"{verdict}: everything on, {ratio:.3f} of everything off (≤ {ALLOWED})"])


if __name__ == "__main__":
    sys.exit(main())
