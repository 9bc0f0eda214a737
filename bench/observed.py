"""What it costs to look: CPU of a GET with everything watching, and with nothing. ``python bench/observed.py --help``.

Compared are `swell.Server` alone, which has neither parent nor scoreboard; that with a scoreboard; `swell serve`, which
counts and can be asked; that with the admin address, two pages open on the dashboard's live data, a scrape of
`/metrics` each second and the watch for slow turns; and that with an access log, which goes to a file. All processes of
a server are counted, the parent's, too. Whoever looks runs on the client's core.

A few percent are told apart by turns of 20 ms (`rig/rotation.py`). Each round has processes of its own: where they
happen to have their memory makes a difference of some percent, too.
"""

import contextlib
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rig import scenarios, servers, short
from rig.environment import APPS, VENV, RigError, say
from rig.rotation import Figures, rotate
from rig.servers import BY_NAME, Server, with_admin, with_options
from rig.watchers import Watchers

COUNTED_AT_MOST = 1.02
"""CPU with the scoreboard, to that without."""
WATCHED_AT_MOST = 1.05
"""CPU of everything on, to that of everything off."""
LOGGED_AT_LEAST = 0.9
"""Throughput with the access log, to that without."""


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
    given = short.parse("observed", "Measure what being watched costs.", rounds=12)
    try:
        server_core, client_core = short.prepare(given)
        found: dict[str, list[Figures]] = {}
        for _ in range(given.rounds):
            for name, figures in measure(server_core, client_core, given.seconds).items():
                found.setdefault(name, []).append(figures)
    except RigError as error:
        say(f"bench/observed.py: {error}")
        return 1
    print(table(found))
    if not given.no_store:
        rounds = {name: [each._asdict() for each in windows] for name, windows in found.items()}
        short.keep("observed", rounds=rounds)
    return 0


def measure(server_core: int, client_core: int, seconds: float) -> dict[str, Figures]:
    """One round: what each variant needs."""
    scenario, admin = scenarios.BY_NAME["get"], servers.free_port()
    with contextlib.ExitStack() as stack:
        up = [stack.enter_context(servers.running(one, scenario.app, server_core)) for one in variants(admin)]
        watchers = Watchers(admin)
        with watchers.looking():
            figures = rotate(scenario, up, client_core, seconds)
        watchers.check(seconds * len(up))
    found = {one.server.name: each for one, each in zip(up, figures, strict=True)}
    say("  " + ", ".join(f"{name} {each.cpu_us:.2f} µs" for name, each in found.items()))
    return found


def table(found: dict[str, list[Figures]]) -> str:
    """In Markdown: medians, and medians of the rounds' ratios; then whether what was set out to is reached."""

    def cpu(name: str, of: str) -> list[float]:
        return [one.cpu_us / other.cpu_us for one, other in zip(found[name], found[of], strict=True)]

    def rate(name: str, of: str) -> float:
        pairs = zip(found[name], found[of], strict=True)
        return statistics.median(one.completed / other.completed for one, other in pairs)

    def spread(ratios: list[float]) -> str:
        """The median and how sure it is: the standard error of the mean."""
        error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
        return f"{statistics.median(ratios):.3f} ± {error:.3f}"

    lines = ["| GET 13 B, uvloop | CPU µs | of everything off | requests, of those with everything off |"]
    lines.append("|---|---:|---:|---:|")
    for variant in variants(0):
        us, of = statistics.median(each.cpu_us for each in found[variant.name]), spread(cpu(variant.name, "bare"))
        lines.append(f"| {variant.title} | {us:.2f} | {of} | {rate(variant.name, 'bare'):.3f} |")
    lines.append("")
    for name, most, what in (
        ("counting", COUNTED_AT_MOST, "with the scoreboard"),
        ("watched", WATCHED_AT_MOST, "everything on"),
    ):
        ratios = cpu(name, "bare")
        lines.append(verdict(statistics.median(ratios) <= most, f"{what}, {spread(ratios)} of the CPU (≤ {most})"))
    lines.append(f"looking alone: {spread(cpu('watched', 'serve'))} of the CPU of `swell serve` when nobody looks")
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
