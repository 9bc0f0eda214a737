"""`swell status`: a running instance and its workers, for people or as JSON."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from swell.cli.figures import Figures, short_age, short_number, short_seconds, short_size
from swell.cli.remote import Usage, no_words, parse
from swell.cli.terminal import colored, emit, rewrites, wants_color

if TYPE_CHECKING:
    from swell.supervisor.control.client import Client

__all__ = ["SUMMARY", "main", "table"]

SUMMARY = "show a running instance and its workers"

_USAGE = Usage(
    "status",
    """\
usage: swell status [options]

Shows a running instance and its workers. Looks twice, half a second apart. REQ/S and LOOP, the share of time in which
the event loop was at work, are of the time in between; P95 is the time within which 95 % of the requests were
answered: of those in between if there were 20, else of all that the worker has served.""",
    {"--json": "Print the instance's own document, of one look.", "--watch": "Look again every second, until Ctrl-C."},
)

INTERVAL, WATCH_INTERVAL = 0.5, 1.0
_HEADS = ("ID", "PID", "STATE", "AGE", "REQUESTS", "REQ/S", "RUN", "CONNS", "LOOP", "P95", "RSS")
_LEFT = {"STATE"}
_COLORS = {"ready": "green", "starting": "yellow", "draining": "cyan", "stopping": "cyan", "stuck": "red"}
# A first step that runs longer holds up everybody else on the worker: it is named.
_LONG_STEP = 1.0


def table(
    document: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float, width: int, color: bool
) -> str:
    """The whole output, in lines of at most `width`. `before` is the document of `seconds` ago."""
    instance = document["instance"]
    workers = document["workers"]
    earlier = {worker["id"]: worker for worker in before["workers"]} if before else {}
    lines = _headline(instance, len(workers), width, color)
    certificates = [_certificate(one, width) for one in document.get("certificates", ())]
    if not workers:
        lines.append("no workers" + (": the next connection starts one" if instance["state"] == "sleeping" else ""))
        return "\n".join([*lines, *certificates])
    rows = [_row(worker, Figures.of(worker, earlier.get(worker["id"]), seconds)) for worker in workers]
    widths = [max(len(row[column]) for row in (_HEADS, *rows)) for column in range(len(_HEADS))]
    gap = "  " if sum(widths) + 2 * len(widths) <= width else " "
    used = sum(widths) + len(gap) * (len(widths) - 1)
    lines.append(colored(_aligned(_HEADS, widths, gap), "bold", color))
    for worker, row in zip(workers, rows, strict=True):
        notes = _notes(worker)
        line = _aligned(row, widths, gap)
        if len(notes) == 1 and used + 2 + len(notes[0]) <= width:
            line += "  " + notes.pop()
        if color:
            line = line.replace(worker["state"], colored(worker["state"], _COLORS.get(worker["state"], ""), True), 1)
        lines.append(line)
        indent = " " * (widths[0] + len(gap))
        lines += [line for note in notes for line in _wrapped(note, width, indent)]
    return "\n".join([*lines, *certificates])


def _headline(instance: Mapping[str, Any], count: int, width: int, color: bool) -> list[str]:
    state = instance["state"]
    name = f"{instance['name']} {state}: "
    first = _wrapped(f"{name}{instance['app']} on {', '.join(instance['addresses'])}", width)
    if color:
        paint = "green" if state == "running" else "yellow"
        first[0] = first[0].replace(f" {state}:", f" {colored(state, paint, True)}:", 1)
    low, high = instance["min"], instance["max"]
    number = f"{count} worker{'' if count == 1 else 's'}"
    if low != high:
        number += f" of {low}..{high}"
    if count != instance["target"]:
        number += f", to become {instance['target']}"
    facts = (
        number,
        f"generation {instance['generation']}",
        f"spawn {instance['spawn']}",
        f"pid {instance['pid']}",
        f"up {short_age(max(time.time() - instance['started'], 0))}",
        f"swell {instance['version']}",
    )
    return [*first, *_wrapped("; ".join(facts), width), ""]


def _row(worker: Mapping[str, Any], figures: Figures) -> tuple[str, ...]:
    return (
        str(worker["id"]),
        str(worker["pid"]),
        worker["state"],
        short_age(worker["age"]),
        short_number(worker["requests"]),
        "-" if figures.rate is None else short_number(figures.rate),
        short_number(worker["in_flight"]),
        short_number(worker["connections"]),
        "-" if figures.busy is None else f"{figures.busy:.0%}",
        "-" if figures.p95 is None else short_seconds(figures.p95),
        short_size(worker["rss_bytes"]),
    )


def _aligned(cells: Sequence[str], widths: Sequence[int], gap: str) -> str:
    pairs = zip(_HEADS, cells, widths, strict=True)
    return gap.join(cell.ljust(width) if head in _LEFT else cell.rjust(width) for head, cell, width in pairs).rstrip()


def _notes(worker: Mapping[str, Any]) -> list[str]:
    """What no column holds: why the worker is here, and what it is stuck in."""
    notes = [worker["cause"]] if worker["cause"] else []
    if current := worker.get("current"):
        seconds = (time.monotonic_ns() - current["since_ns"]) / 1e9
        if seconds >= _LONG_STEP:
            notes.append(f"in {current['line']} for {short_age(seconds)}")
    return [_printable(note) for note in notes]


def _certificate(certificate: Mapping[str, Any], width: int) -> str:
    """A line, or a few, below the workers."""
    not_after, trouble = certificate["not_after"], certificate["trouble"]
    text = f"{certificate['name']}: "
    if not_after is None:
        text += f"no certificate of {certificate['authority']} yet"
    else:
        text += f"certificate of {certificate['authority']} until {_time(not_after)}"
        if not trouble:
            text += f", to be renewed at {_time(certificate['renew_at'])}"
    if trouble:
        text += f"; {trouble}; next attempt at {_time(certificate['retry_at'])}"
    return "\n".join(_wrapped(text, width))


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        _printable(text),
        max(width, 40),
        initial_indent=indent,
        subsequent_indent=indent or "  ",
        break_on_hyphens=False,
    )


def _printable(text: str) -> str:
    """Names and targets are others' choice: nothing in them moves the cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


def main(argv: Sequence[str]) -> int:
    """0 when the instance has answered."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    no_words(_USAGE, asked)
    if {"--json", "--watch"} <= asked.options.keys():
        raise _USAGE.wrong("--json prints one document and --watch goes on: drop one of them")
    client = asked.client()
    if "--json" in asked.options:
        emit(json.dumps(client.status(), indent=2))
    elif "--watch" in asked.options:
        _watch(client)
    else:
        _show(client, client.status(), INTERVAL)
    return 0


def _show(client: Client, before: Mapping[str, Any], interval: float, prefix: str = "") -> Mapping[str, Any]:
    """Looks once more after `interval`, and prints."""
    began = time.monotonic()
    time.sleep(interval)
    document = client.status()
    width = max(60, shutil.get_terminal_size().columns)
    color = wants_color(sys.stdout)
    text = table(document, before, time.monotonic() - began, width, color=color)
    if prefix:
        sys.stdout.write(prefix)
    emit(text, painted=color)
    sys.stdout.flush()
    return document


def _watch(client: Client) -> None:
    before: Mapping[str, Any] = client.status()
    clear = "\x1b[H\x1b[2J" if rewrites(sys.stdout) else ""
    while True:
        before = _show(client, before, WATCH_INTERVAL, clear)
