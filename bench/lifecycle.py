"""Measures what servers with several workers do over their life, side by side: ``python bench/lifecycle.py --help``.

Starts, memory, reload, scaling, a killed worker, a new parent, idling: one table, kept as JSON under `bench/results`.
The measurements are in `rig/lifecycle.py`. Needs Linux, two cores, cargo and Python 3.11.
"""

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
sys.path.insert(0, str(BENCH.parent / "tests"))  # the steady load

from rig import environment, lifecycle, machine, many, report  # noqa: E402 - the load of the tests is above
from rig.environment import RigError, say  # noqa: E402 - the load of the tests is above

RESULTS = BENCH / "results"
PEERS = "uvicorn", "uvloop", "httptools", "gunicorn", "granian", "swell", "fastapi", "python"

Cell = dict[str, Any] | None


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms" if seconds < 9.9995 else f"{seconds:,.1f} s"


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def _lost(cell: dict[str, Any]) -> str:
    retried = f", {cell['retried']} asked again" if cell["retried"] else ""
    return f"{cell['lost']} + {cell['lost_websockets']} of {cell['requests']:,}{retried}"


# Title of the line, the measurement it is of, and how its cell is made.
LINES: tuple[tuple[str, str, Any], ...] = (
    ("start: first worker ready", "start", lambda cell: _ms(cell["first"])),
    ("start: all 4 ready", "start", lambda cell: _ms(cell["all"])),
    ("one more worker: signal → ready", "add", lambda cell: _ms(cell["seconds"])),
    ("memory (PSS) with 1 worker", "memory", lambda cell: _mb(cell["one"])),
    ("memory (PSS) of each further worker", "memory", lambda cell: _mb(cell["each"])),
    ("1 → 4 workers under load", "scale", lambda cell: _ms(cell["seconds"])),
    ("… lost", "scale", _lost),
    ("reload of 4 workers under load: signal → first new answer", "reload", lambda cell: _ms(cell["first"])),
    ("… signal → last old answer", "reload", lambda cell: _ms(cell["seconds"])),
    ("… lost (in all rounds)", "reload", _lost),
    ("… slowest small GET meanwhile", "reload", lambda cell: _ms(cell["worst_keep_alive"])),
    ("kill -9 of a worker each second, 20 times → successor ready", "kill", lambda cell: _ms(cell["seconds"])),
    ("… lost", "kill", _lost),
    ("new parent and workers (USR2) under load", "upgrade", lambda cell: _ms(cell["seconds"])),
    ("… lost", "upgrade", _lost),
    ("idle, 8 workers: parent's share of a core", "idle", lambda cell: f"{cell['parent']:.3%}"),
    ("idle, 8 workers: all processes", "idle", lambda cell: f"{cell['all']:.2%}"),
    ("0.3 ms of computing: requests/s, 1 worker", "speed", lambda cell: f"{cell['burn_1']:,.0f}"),
    ("… 2 workers", "speed", lambda cell: f"{cell['burn_2']:,.0f} ({cell['ratio']:.2f} ×)"),
    ("GET 13 B, 2 workers: requests/s", "speed", lambda cell: f"{cell['get_2']:,.0f}"),
    ("… CPU µs / request", "speed", lambda cell: f"{cell['get_2_cpu_us']:.1f}"),
)

NOTES = """\
Lost: requests + WebSocket sessions without an orderly end, of all that were asked. "Asked again" are safe requests on
kept connections that the server closed before it had read them (RFC 9112 §9.3.1). What a killed worker held is lost
with any server; the number says how much that was."""


def text(name: str, make: Any, cell: Cell | str) -> str:
    """One cell of the table."""
    if cell is None:
        return "cannot"
    if isinstance(cell, str):
        return cell
    return "failed" if "failure" in cell else str(make(cell))


def table(document: dict[str, Any]) -> str:
    """The whole table, servers side by side."""
    columns: dict[str, dict[str, Cell]] = document["servers"]
    rows = [["", *(many.BY_NAME[name].title for name in columns)]]
    for title, name, make in LINES:
        if any(name in cells for cells in columns.values()):
            rows.append([title, *(text(name, make, cells.get(name, "—")) for cells in columns.values())])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    failures = [
        f"{server}, {name}: {cell['failure']}"
        for server, cells in columns.items()
        for name, cell in cells.items()
        if cell and "failure" in cell
    ]
    return "\n".join([lines[0], rule, *lines[1:], "", NOTES, *failures])


def heading(document: dict[str, Any]) -> str:
    """What, where and when."""
    found, versions = document["machine"], document["versions"]
    names = ", ".join(f"{name} {versions[name]}" for name in PEERS if name in versions)
    changed = " (with uncommitted changes)" if document["commit"]["changed"] else ""
    return (
        f"{document['date']}, commit {document['commit']['commit']}{changed}; {found['cpu']}, {found['cores']} cores, "
        f"{found['system']}, kernel {found['kernel']}; load average at the start {document['load_average']}.\n{names}"
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench/lifecycle.py",
        description="Measure starting, reloading, scaling, losing and idling of several workers, side by side.",
        epilog=f"measurements: {', '.join(lifecycle.MEASURES)}; servers: {', '.join(many.BY_NAME)}",
    )
    parser.add_argument("--only", metavar="NAMES", help="only these measurements, separated by commas")
    parser.add_argument("--servers", metavar="NAMES", help="only these servers, separated by commas")
    parser.add_argument("--quick", action="store_true", help="one round each: to see that all works, not to quote")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="measure this wheel instead of the checkout")
    parser.add_argument("--no-build", action="store_true", help="measure the Swell that bench/.venv holds already")
    parser.add_argument("--no-store", action="store_true", help="do not keep the result")
    parser.add_argument("--render", type=Path, metavar="FILE", help="print the table of a stored result and stop")
    return parser.parse_args()


def chosen(given: str | None, known: list[str]) -> list[str]:
    """The names that were asked for, in their usual order."""
    wanted = known if given is None else given.split(",")
    if unknown := sorted(set(wanted) - set(known)):
        raise RigError(f"unknown: {', '.join(unknown)}; there are: {', '.join(known)}")
    return [name for name in known if name in wanted]


def run(args: argparse.Namespace) -> int:
    """Measures everything that was asked for."""
    names = chosen(args.only, list(lifecycle.MEASURES))
    servers = chosen(args.servers, list(many.BY_NAME))
    environment.prepare_python(fresh=False)
    if "speed" in names:
        environment.prepare_load()
    if any(name.startswith("swell") for name in servers):
        environment.prepare_swell(args.wheel, build=not args.no_build)
    machine.raise_file_limit()
    effort = lifecycle.Effort(1, 1, 2, 2.0, 1.0, 1) if args.quick else lifecycle.Effort()
    document: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "load_average": machine.load_average(),
        "versions": environment.versions(),
        "effort": asdict(effort),
        "servers": {name: {} for name in servers},
    }
    for name in names:
        for server in servers:
            cell = lifecycle.measure(name, many.BY_NAME[server], effort)
            document["servers"][server][name] = cell
            made = [f"{title}: {text(name, make, cell)}" for title, of, make in LINES if of == name]
            say(f"{server}: {'; '.join(made)}")
    print(heading(document), table(document), sep="\n\n")
    if not args.no_store:
        path = report.store(document, RESULTS, "lifecycle-")
        say(f"kept as bench/results/{path.name}")
    return 0


def main() -> int:
    """Run, and turn what the user can mend into one clear message."""
    args = parse()
    try:
        if args.render is not None:
            document = json.loads(args.render.read_text())
            print(heading(document), table(document), sep="\n\n")
            return 0
        return run(args)
    except (RigError, OSError) as error:
        print(f"lifecycle: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
