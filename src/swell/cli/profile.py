"""`swell profile`: where the time or the memory of a worker goes, as a flame graph and a table."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swell.cli.output import note, terminal_width
from swell.cli.remote import Asked, Usage, parse
from swell.cli.stackprint import short_path, worker_word
from swell.cli.terminal import emit
from swell.config.units import read_duration
from swell.errors import SwellError
from swell.telemetry.formats import harmless
from swell.telemetry.profile import Hot, flame, from_raw, hottest, summary, trimmed

if TYPE_CHECKING:
    from swell.supervisor.control.client import Client

__all__ = ["SUMMARY", "main"]

SUMMARY = "find out where a worker's time or memory goes"

_USAGE = Usage(
    "profile",
    """\
usage: swell profile [WORKER] [options]

Watches a worker under its load, without a restart, and writes a flame graph: a page that opens in any browser. Prints
the hottest functions. py-spy is used where it is installed and allowed to look into the process; else a thread of the
worker takes the samples. WORKER is its number in `swell status`; without it, the only worker.""",
    {
        "--seconds TIME": "How long. [10s]",
        "--memory": "What is allocated meanwhile and still there at the end, instead of time (tracemalloc: slow).",
        "-o, --output FILE": "The page, or the document if it ends in .json. [swell-profile-WORKER-TIME.html]",
        "--hz NUMBER": "Samples per second, 1 to 1000. [100]",
        "--sampler NAME": "auto, py-spy or in-process. [auto]",
        "--top NUMBER": "How many functions are printed. [15]",
        "--json": "Print the document; no page.",
    },
)
_SAMPLERS = ("auto", "py-spy", "in-process")
# Beyond the time that it is given, py-spy gets so many seconds to begin and to write.
SPY_SECONDS = 20.0


def main(argv: Sequence[str]) -> int:
    """0 when there is a profile."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    word = worker_word(_USAGE, asked)
    seconds, hz, top = _seconds(asked), _number(asked, "--hz", 100, 1000), _number(asked, "--top", 15, 1000)
    sampler = asked.options.get("--sampler", "auto")
    if sampler not in _SAMPLERS:
        raise _USAGE.wrong(f"--sampler must be one of {', '.join(_SAMPLERS)}, not {sampler}")
    memory = "--memory" in asked.options
    if memory and sampler == "py-spy":
        raise _USAGE.wrong("py-spy sees no memory: drop --sampler")
    client = asked.client()
    worker = _worker(client, word)
    if sys.stderr.isatty():
        sys.stderr.write(f"watching worker {worker['id']} (pid {worker['pid']}) for {seconds} s\n")
    document = None if memory or sampler == "in-process" else _spied(worker["pid"], seconds, hz, sampler == "py-spy")
    if document is None:
        body = {"worker": worker["id"], "seconds": seconds, "hz": hz, "memory": memory}
        document = client.command("/v1/profile", body, lambda status: None)
    document = trimmed({"worker": worker["id"], "pid": worker["pid"], **document})
    if "--json" in asked.options:
        emit(json.dumps(document))
        return 0
    path = Path(asked.options.get("--output") or asked.options.get("-o") or _default(worker["id"]))
    _write(path, document, f"{client.name}, worker {worker['id']} (pid {worker['pid']}): {summary(document)}")
    emit("\n".join(_text(document, top, terminal_width())))
    emit(f"\n{path}")
    return 0


def _spied(pid: int, seconds: int, hz: int, insists: bool) -> dict[str, Any] | None:
    """By py-spy; None where that is not to be had."""
    scripts = sysconfig.get_path("scripts")
    program = shutil.which("py-spy") or shutil.which("py-spy", path=scripts)
    if program is None:
        if insists:
            raise SwellError("py-spy is not installed: pip install py-spy")
        return None
    with tempfile.TemporaryDirectory(prefix="swell-") as place:
        raw = Path(place) / "raw"
        command = [program, "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(hz)]
        began = time.monotonic()
        try:
            done = subprocess.run(
                [*command, "--format", "raw", "--output", str(raw)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=seconds + SPY_SECONDS,
                check=False,
            )
            why = done.stderr.strip().splitlines()[-1:] if done.returncode or not raw.exists() else []
            failed = bool(done.returncode) or not raw.exists()
        except (OSError, subprocess.TimeoutExpired) as error:
            why, failed = [str(error)], True
        if failed:
            text = f"py-spy could not look into the worker ({''.join(why) or 'no reason given'})"
            if insists:
                raise SwellError(f"{text}: it needs root, CAP_SYS_PTRACE, or kernel.yama.ptrace_scope=0")
            note([f"{text}: a thread of the worker takes the samples"])
            return None
        document = from_raw(raw.read_text(encoding="utf-8", errors="replace").splitlines())
    return document | {"sampler": "py-spy", "seconds": time.monotonic() - began, "hz": hz}


def _text(document: Mapping[str, Any], count: int, width: int) -> list[str]:
    total = sum(number for number, _ in document["stacks"])
    lines = [summary(document)]
    if not total:
        return [*lines, "nothing: the worker had nothing to do, or allocated nothing that stayed"]
    lines.append(f"{'itself':>8} {'in all':>8}  function")
    for hot in hottest(document, count):
        line = f"{hot.own / total:>8.1%} {hot.total / total:>8.1%}  {hot.function}  {_place(hot)}"
        lines.append(harmless(line, lines=False)[:width])
    return lines


def _place(hot: Hot) -> str:
    return f"{short_path(hot.file)}:{hot.line}" if hot.file else ""


def _write(path: Path, document: Mapping[str, Any], title: str) -> None:
    text = json.dumps(document) if path.suffix == ".json" else flame(document, title)
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise SwellError(f"cannot write {path}: {error.strerror or error}") from None


def _default(worker: int) -> str:
    name = f"swell-profile-{worker}-{time.strftime('%H%M%S')}.html"
    return name if os.access(".", os.W_OK) else os.path.join(tempfile.gettempdir(), name)


def _worker(client: Client, word: str) -> Mapping[str, Any]:
    """The one that is meant."""
    workers = {str(worker["id"]): worker for worker in client.status()["workers"]}
    there = f"there are {', '.join(workers)}" if workers else "there are none now"
    if not word and len(workers) != 1:
        raise SwellError(f"say which worker: {there}")
    word = word or next(iter(workers))
    if word not in workers:
        raise SwellError(f"there is no worker {word}: {there}")
    worker: Mapping[str, Any] = workers[word]
    return worker


def _seconds(asked: Asked) -> int:
    word = asked.options.get("--seconds", "10")
    try:
        seconds = read_duration(word)
    except ValueError as error:
        raise _USAGE.wrong(f"--seconds {error}") from None
    if not 1 <= seconds <= 3600 or seconds != int(seconds):
        raise _USAGE.wrong(f"--seconds must be whole seconds, from 1 to 3600, not {word}")
    return int(seconds)


def _number(asked: Asked, flag: str, default: int, most: int) -> int:
    word = asked.options.get(flag, str(default))
    if not (word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= most):
        raise _USAGE.wrong(f"{flag} must be a number from 1 to {most}, not {word}")
    return int(word)
