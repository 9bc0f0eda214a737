"""Measures Swell and its peers side by side and prints one table: ``python bench/run.py --help``.

The work is in `rig`; this file reads the command line, prepares what is missing, goes through the scenarios and keeps
the result under `bench/results`. It needs Linux, two cores, Python 3.11 and nothing else installed.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rig import environment, machine, report, scenarios, servers, targets
from rig.environment import RigError, say
from rig.measure import Settings, measure

RESULTS = Path(__file__).resolve().parent / "results"
QUIET_LOAD = 0.5

Groups = dict[str, list[str]]


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench/run.py",
        description="Measure Swell and its peers side by side, in turns, server and client on different cores.",
        epilog=f"scenarios: {', '.join(scenarios.BY_NAME)}\nservers: {', '.join(servers.BY_NAME)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", "--scenario", action="append", metavar="NAME", help="only this; repeat, or separate by commas")
    add("--servers", action="append", metavar="NAME", help="only these servers; 'swell' means both loops")
    add("--rounds", type=int, metavar="N", help="turns per server (3)")
    add("--seconds", type=float, metavar="S", help="length of a measured window (3)")
    add("--quick", action="store_true", help="1 round of 1 second: to see that all works, not to quote")
    add("--no-syscalls", action="store_true", help="leave out the run under strace")
    add("--server-core", type=int, metavar="N", help="core of the servers")
    add("--client-core", type=int, metavar="N", help="core of the load generator")
    add("--wheel", type=Path, metavar="FILE", help="measure this wheel instead of the checkout")
    add("--no-build", action="store_true", help="measure the Swell that bench/.venv holds already")
    add("--fresh", action="store_true", help="bring the peers up to date")
    add("--no-store", action="store_true", help="do not keep the result")
    add("--render", type=Path, metavar="FILE", help="print the table of a stored result and stop")
    add("--readme", type=Path, metavar="FILE", help="put the table of a stored result into README.md and stop")
    return parser.parse_args(words)


def chosen(given: list[str] | None, known: list[str], what: str, groups: Groups | None = None) -> list[str]:
    """The names asked for, in their usual order; all of them without a wish."""
    if not given:
        return known
    names = [name for word in given for name in word.split(",") if name]
    wanted = {each for name in names for each in (groups or {}).get(name, [name])}
    unknown = sorted(wanted - set(known))
    if unknown:
        raise RigError(f"unknown {what} {', '.join(unknown)}; there are: {', '.join(known)}")
    return [name for name in known if name in wanted]


def prepare(args: argparse.Namespace, names: list[str]) -> None:
    """Install and build what the chosen servers need."""
    environment.prepare_python(args.fresh)
    environment.prepare_load()
    if "nginx" in names:
        environment.prepare_nginx()
    if any(name.startswith("swell") for name in names):
        environment.prepare_swell(args.wheel, build=not args.no_build)


def settings_of(args: argparse.Namespace) -> Settings:
    """Rounds and times, from the command line or by default."""
    rounds = args.rounds if args.rounds is not None else (1 if args.quick else 3)
    seconds = args.seconds if args.seconds is not None else (1.0 if args.quick else 3.0)
    if not 1 <= rounds <= 100 or not 0.2 <= seconds <= 60:
        raise RigError("--rounds goes from 1 to 100, --seconds from 0.2 to 60")
    server_core, client_core = machine.choose_cores(args.server_core, args.client_core)
    return Settings(
        rounds=rounds,
        seconds=seconds,
        warmup=0.3 if args.quick else 1.0,
        server_core=server_core,
        client_core=client_core,
        trace_syscalls=not args.no_syscalls,
        syscalls_share=0.1 if args.quick else 1.0,
    )


def run(args: argparse.Namespace) -> int:
    """Measure everything that was asked for."""
    groups = {"swell": ["swell-asyncio", "swell-uvloop"]}
    names = chosen(args.servers, list(servers.BY_NAME), "server", groups)
    cases = [scenarios.BY_NAME[name] for name in chosen(args.only, list(scenarios.BY_NAME), "scenario")]
    settings = settings_of(args)
    prepare(args, names)
    files = machine.raise_file_limit()
    most = max(case.connections for case in cases)
    if files < most + 500:
        raise RigError(f"the limit of open files is {files}, {most} connections need more: ulimit -n {most + 500}")
    os.sched_setaffinity(0, {settings.client_core})
    load_average = machine.load_average()
    if load_average > QUIET_LOAD:
        say(f"note: the machine is busy (load average {load_average}); figures will be noisy")
    document: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "load_average": load_average,
        "versions": environment.versions(),
        "settings": asdict(settings),
        "rows": [],
    }
    for case in cases:
        say(f"{case.name}: {case.title}")
        rows = measure(case, [servers.BY_NAME[name] for name in names], settings)
        document["rows"] += [asdict(row) for row in rows]
    show(document)
    if not args.no_store:
        say(f"kept as bench/results/{report.store(document, RESULTS).name}")
    return 1 if any(row["failure"] for row in document["rows"]) else 0


def show(document: dict[str, Any]) -> None:
    """Print heading, table and targets."""
    print(report.heading(document), report.table(document), sep="\n\n")
    lines = targets.judge(document["rows"])
    if lines:
        print("", *lines, sep="\n")


def main() -> int:
    """Run, and turn what the user can mend into one clear message."""
    args = parse()
    try:
        if args.render is not None:
            show(json.loads(args.render.read_text()))
            return 0
        if args.readme is not None:
            report.put_into_readme(args.readme, environment.ROOT / "README.md")
            return 0
        return run(args)
    except (RigError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
