"""`swell logs`: what a running instance logs from now on, all workers in one stream, filtered."""

from __future__ import annotations

import fnmatch
import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from swell.cli.remote import Asked, Usage, no_words, parse
from swell.cli.terminal import emit, wants_color
from swell.config.units import read_duration
from swell.errors import SwellError
from swell.telemetry.follow import ESCAPES
from swell.telemetry.follow import parse as parse_line
from swell.telemetry.formats import harmless

__all__ = ["SUMMARY", "Filter", "main"]

SUMMARY = "follow what is logged, all workers in one stream"

_USAGE = Usage(
    "logs",
    """\
usage: swell logs [options]

Prints what a running instance logs from now on: the access log, also where it is off or goes elsewhere, the server's
log and the application's, of all workers and the parent, until Ctrl-C. --status, --path and --slow choose lines of the
access log, --level chooses messages; with one kind of filter only, the other kind of line is left out. Nobody waits for
a reader that is slow: it loses lines, and is told how many.""",
    {
        "--follow, -f": "The same; there is nothing older to print.",
        "--status STATUS": "Such as 404, 5xx, or 4xx,500; - is a client that left before there was an answer.",
        "--path PATH": "Part of the path, or a pattern with * and ?.",
        "--slow TIME": "What took at least so long, such as 200ms.",
        "--level LEVEL": "Messages of at least this level: debug, info, warning, error, critical.",
        "--worker ID": "One worker; 0 is the parent.",
        "--for TIME": "End after this time.",
        "--json": "One JSON object per line.",
    },
)
_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error", "critical")}
_STATUS = re.compile(r"[1-5](?:xx|\d\d)|-")
_ALL = 255


@dataclass(frozen=True, slots=True)
class Filter:
    """`statuses` are words such as `404` and `5xx`; empty, 0 and None choose everything."""

    statuses: tuple[str, ...] = ()
    path: str = ""
    slow: float = 0.0
    level: int | None = None
    worker: int | None = None

    @property
    def of_access(self) -> bool:
        return bool(self.statuses or self.path or self.slow)

    def query(self) -> str:
        """For the instance, which does the coarse part of it."""
        wanted: dict[str, Any] = {}
        if self.level is not None and not self.of_access:
            wanted["statuses"] = 0
        elif self.statuses:
            bits = {1 << (0 if word == "-" else int(word[0])) for word in self.statuses}
            wanted["statuses"] = sum(bits)
        if self.slow:
            wanted["slower_ms"] = int(self.slow * 1000)
        # Others may be escaped in the line.
        if re.fullmatch(r"[\w/.~-]+", self.path, re.ASCII):
            wanted["contains"] = self.path
        wanted["level"] = self.level if self.level is not None else "off" if self.of_access else 0
        return urlencode(wanted)

    def takes(self, worker: int, values: Mapping[str, Any]) -> bool:
        """The exact part, for a line that was parsed."""
        if self.worker is not None and worker != self.worker:
            return False
        if "lines_lost" in values:
            return True
        if values.get("logger") != "swell.access":
            level = _LEVELS.get(str(values.get("level", "")), logging.NOTSET)
            return level >= (self.level or 0) if self.level is not None or not self.of_access else False
        if self.level is not None and not self.of_access:
            return False
        status = "-" if values.get("status") is None else str(values["status"])
        if self.statuses and not any(status == word or word == f"{status[0]}xx" for word in self.statuses):
            return False
        path = str(values.get("path", values.get("request", "")))
        if self.path and not (
            fnmatch.fnmatchcase(path, self.path) if "*" in self.path or "?" in self.path else self.path in path
        ):
            return False
        return float(values.get("duration_ms", 0)) >= self.slow * 1000


def main(argv: Sequence[str]) -> int:
    """0 when it has ended as it should: the time is over, or the instance has ended."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    no_words(_USAGE, asked)
    chosen = _filter(asked)
    seconds = _duration(asked, "--for")
    end = None if seconds is None else time.monotonic() + seconds
    as_json, color = "--json" in asked.options, wants_color(sys.stdout)
    client = asked.client()
    if chosen.worker:
        there = [worker["id"] for worker in client.status()["workers"]]
        if chosen.worker not in there:
            names = f"there are {', '.join(map(str, there))}" if there else "there are none now"
            raise SwellError(f"{client.name}: there is no worker {chosen.worker}: {names}")
    for batch in client.follow(f"/v1/logs?{chosen.query()}"):
        for line in _lines(batch, chosen, as_json, color):
            emit(line, painted=color and not as_json)
        sys.stdout.flush()
        if end is not None and time.monotonic() >= end:
            break
    return 0


def _lines(batch: Mapping[str, Any] | None, chosen: Filter, as_json: bool, color: bool) -> Iterator[str]:
    if batch is None:
        return
    worker = batch["worker"]
    if batch["lost"]:
        lost = {"logger": "swell", "worker": worker, "lines_lost": batch["lost"]}
        yield json.dumps(lost) if as_json else f"{batch['lost']} lines were lost: they were not read in time"
    for line in batch["lines"]:
        values = parse_line(line) or {"message": line}
        if not chosen.takes(worker, values):
            continue
        if as_json:
            yield json.dumps({"worker": worker, **values})
        else:
            yield f"{'parent' if worker == 0 else worker:>6} | {_text(line, values, color)}"


def _text(line: str, values: Mapping[str, Any], color: bool) -> str:
    if not line.startswith("{"):
        return line if color else ESCAPES.sub("", line)
    if "lines_lost" in values:
        return f"{values['lines_lost']} lines were lost: they were not read in time"
    time_ = values.get("time", "")
    if values.get("logger") == "swell.access":
        status = "-" if values.get("status") is None else values["status"]
        target = f"{values.get('method', '')} {values.get('path', values.get('request', ''))}".strip()
        name = f" id={values['request_id']}" if values.get("request_id") else ""
        text = f'{time_} {values.get("client", "-")} "{target}" {status} {values.get("duration_ms", 0):.3f}ms{name}'
        return harmless(text, lines=False)
    logger = "" if values.get("logger") == "swell" else f" {values.get('logger', '')}"
    below = "".join(f"\n{values[name]}" for name in ("exception", "stack") if values.get(name))
    return harmless(f"{time_} {str(values.get('level', '')).upper()}{logger}: {values.get('message', '')}{below}")


def _filter(asked: Asked) -> Filter:
    words = tuple(word for word in asked.options.get("--status", "").lower().split(",") if word)
    for word in words:
        if not _STATUS.fullmatch(word):
            raise _USAGE.wrong(f"--status takes numbers such as 404, classes such as 5xx, or -, not {word}")
    level = asked.options.get("--level", "").lower()
    if level and level not in _LEVELS:
        raise _USAGE.wrong(f"--level must be one of {', '.join(_LEVELS)}, not {level}")
    worker = asked.options.get("--worker", "")
    if worker and not (worker.isascii() and worker.isdigit() and len(worker) < 19):
        raise _USAGE.wrong(f"--worker must be the number of a worker, not {worker}")
    return Filter(
        words,
        asked.options.get("--path", ""),
        _duration(asked, "--slow") or 0.0,
        _LEVELS[level] if level else None,
        int(worker) if worker else None,
    )


def _duration(asked: Asked, flag: str) -> float | None:
    word = asked.options.get(flag)
    if word is None:
        return None
    try:
        return read_duration(word)
    except ValueError as error:
        raise _USAGE.wrong(f"{flag}: {error}") from None
