"""What it costs to look: CPU of a GET with everything watching, and with nothing. ``python bench/observed.py --help``.

Servers take turns on one core: `swell.Server` alone, which has neither parent nor scoreboard; that with a scoreboard;
`swell serve`, which counts and can be asked; that with the admin address, two pages open on the dashboard's live data,
a scrape of `/metrics` each second and the watch for slow turns; and that with an access log, which goes to a file. All
processes of a server are counted, the parent's, too. Whoever looks runs on the client's core.

A machine has phases, in which everything costs up to a third more, and which last longer than a round of short windows:
what is compared are the windows of the same round.
"""

import contextlib
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rig import load, scenarios, servers, short
from rig.environment import APPS, VENV, RigError, say
from rig.servers import BY_NAME, Server, with_admin, with_options
from rig.watchers import Watchers

COUNTED_AT_MOST = 1.02
"""CPU with the scoreboard, to that without."""
WATCHED_AT_MOST = 1.05
"""CPU of everything on, to that of everything off."""
LOGGED_AT_LEAST = 0.9
"""Throughput with the access log, to that without."""


class Figures(NamedTuple):
    """Of one window."""

    cpu_us: float
    per_second: float


def _bare(app: str, port: int, directory: Path) -> Sequence[str | Path]:
    return [VENV / "bin/python", APPS / "bench_bare.py", app, str(port)]


def _counting(app: str, port: int, directory: Path) -> Sequence[str | Path]:
    return [*_bare(app, port, directory), directory / "scoreboard"]


def _logged(form: str) -> Callable[[str, int, Path], Sequence[str | Path]]:
    def command(app: str, port: int, directory: Path) -> Sequence[str | Path]:
        options = ["--host", servers.HOST, "--port", str(port), "--loop", "uvloop", "--slow-callback", "off"]
        return [VENV / "bin/swell", app, *options, "--log-format", form]

    return command


def variants(admin: int) -> list[Server]:
    """What is compared. `admin` is the port of the admin address."""
    swell = BY_NAME["swell-uvloop"]
    plain, watched = with_options(swell, "--slow-callback", "off"), with_admin(swell, admin)
    return [
        Server("bare", "`swell.Server` alone: everything off", _bare),
        Server("counting", "`swell.Server` with a scoreboard", _counting),
        replace(plain, name="serve", title="`swell serve`, nobody looks"),
        replace(watched, name="watched", title="`swell serve`, everything on and looked at"),
        Server("text", "`swell serve` with an access log", _logged("text")),
        Server("json", "`swell serve` with an access log as JSON", _logged("json")),
    ]


def main() -> int:
    """Measures, prints the table, keeps the result."""
    given = short.parse("observed", "Measure what being watched costs.", rounds=25)
    try:
        server_core, client_core = short.prepare(given)
        admin = servers.free_port()
        compared = variants(admin)
        found = measure(compared, admin, server_core, client_core, given.rounds, given.seconds)
    except RigError as error:
        say(f"bench/observed.py: {error}")
        return 1
    print(table(found, compared))
    if not given.no_store:
        rounds = {name: [each._asdict() for each in windows] for name, windows in found.items()}
        short.keep("observed", rounds=rounds)
    return 0


def measure(
    compared: list[Server], admin: int, server_core: int, client_core: int, rounds: int, seconds: float
) -> dict[str, list[Figures]]:
    """What each variant needed, round by round."""
    scenario = scenarios.BY_NAME["get"]
    found: dict[str, list[Figures]] = {variant.name: [] for variant in compared}
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
                found[one.server.name].append(Figures(result.server_cpu_us, result.per_second))
                say(f"  {one.server.title}: {result.server_cpu_us:.2f} µs, {result.per_second:,.0f}/s")
    return found


def table(found: dict[str, list[Figures]], compared: list[Server]) -> str:
    """In Markdown: medians, and medians of the rounds' ratios; then whether what was set out to is reached."""

    def cpu(name: str, of: str) -> float:
        return statistics.median(one.cpu_us / other.cpu_us for one, other in zip(found[name], found[of], strict=True))

    def rate(name: str, of: str) -> float:
        pairs = zip(found[name], found[of], strict=True)
        return statistics.median(one.per_second / other.per_second for one, other in pairs)

    lines = ["| GET 13 B, uvloop | CPU µs | of everything off | per second |", "|---|---:|---:|---:|"]
    for variant in compared:
        us, per_second = map(statistics.median, zip(*found[variant.name], strict=True))
        lines.append(f"| {variant.title} | {us:.2f} | {cpu(variant.name, 'bare'):.3f} | {per_second:,.0f} |")
    lines.append("")
    for name, most, what in (
        ("counting", COUNTED_AT_MOST, "with the scoreboard"),
        ("watched", WATCHED_AT_MOST, "everything on"),
    ):
        ratio = cpu(name, "bare")
        lines.append(verdict(ratio <= most, f"{what}, {ratio:.3f} of the CPU (≤ {most})"))
    lines.append(f"looking alone: {cpu('watched', 'serve'):.3f} of the CPU of `swell serve` when nobody looks")
    for name in ("text", "json"):
        logged = rate(name, "serve")
        said = f"access log as {name}, {logged:.3f} of the throughput without (≥ {LOGGED_AT_LEAST})"
        lines.append(verdict(logged >= LOGGED_AT_LEAST, said))
    return "\n".join(lines)


def verdict(reached: bool, what: str) -> str:
    """A line for one aim."""
    return f"{'reached' if reached else 'MISSED'}: {what}"


if __name__ == "__main__":
    sys.exit(main())
