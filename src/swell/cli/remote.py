"""What the commands to a running instance share: their options, finding it, asking it, and what they print.

A command declares itself as a `Usage`; `parse` reads its arguments and `Asked` holds what came of them. Where the name
or the socket is not given on the command line, SWELL_NAME, SWELL_CONTROL, SWELL_RUNTIME_DIR and `swell.toml` are asked;
whatever else is wrong there must not keep anybody from stopping a server, so it is not looked at.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swell.cli.output import terminal_width
from swell.cli.terminal import emit, erase, rewrites
from swell.config.environment import CONFIG_VARIABLE, read_environment
from swell.config.explain import entry
from swell.config.file import read_file
from swell.config.nearest import unknown
from swell.config.units import OFF_WORDS, show_duration
from swell.errors import UsageError

if TYPE_CHECKING:
    from swell.supervisor.control.client import Client

__all__ = ["Asked", "Progress", "Usage", "parse"]

_INSTANCE = {
    "--name NAME": "The instance, if several are running.",
    "--control PATH": "Its control socket, if it cannot be found by itself.",
    "--runtime-dir DIR": "Where to look for instances.",
    "-h, --help": "Show this text.",
}
_NUMBER = re.compile(r"[-+]\d+")


@dataclass(frozen=True)
class Usage:
    """One command. `text` is its help: the lines of usage, then paragraphs. `options` are written as in the help."""

    command: str
    text: str
    options: Mapping[str, str] = field(default_factory=dict)

    def wrong(self, text: str) -> UsageError:
        """To be raised."""
        return UsageError(text, f"swell {self.command} --help")

    def show(self) -> None:
        """Prints the help."""
        width = terminal_width()
        lines, *paragraphs = self.text.split("\n\n")
        wrapped = (textwrap.fill(" ".join(text.split()), width, break_on_hyphens=False) for text in paragraphs)
        rows = (entry(term, text, width) for term, text in {**self.options, **_INSTANCE}.items())
        sys.stdout.write("\n\n".join([lines, *wrapped, "\n".join(rows)]) + "\n")


@dataclass
class Asked:
    """What stood on the command line: the words, and the options, with `""` for one that takes no value."""

    words: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)

    def client(self) -> Client:
        """Of the instance that is meant."""
        # Not at the top: `swell serve` comes by here too, and has no use for an HTTP client.
        from swell.supervisor.control.client import Client, find

        name, control = self.options.get("--name", ""), self.options.get("--control", "")
        layers = [read_file(os.environ.get(CONFIG_VARIABLE) or None, Path.cwd()), read_environment(os.environ)]
        why = ""
        runtime_dir = self.options.get("--runtime-dir", "")
        for layer in reversed(layers):
            if not name and not control:
                name, why = layer.values.get("name", ""), layer.origins.get("name", "")
                path = layer.values.get("control")
                # A name together with a path are two ways to say the same; the path is the sharper one.
                control = path if path and path != "auto" else ""
            runtime_dir = runtime_dir or layer.values.get("runtime_dir", "")
        return Client(find(name, control, runtime_dir, os.environ, why))


def parse(usage: Usage, argv: Sequence[str]) -> Asked | None:
    """Reads the arguments. `None` when help was asked for and printed; raises `UsageError`."""
    terms = [term.split(", ") for term in {**usage.options, **_INSTANCE}]
    takes = {flag.partition(" ")[0]: " " in names[-1] for names in terms for flag in names}
    takes |= {"-h": False, "--help": False}
    if any(word in ("-h", "--help") for word in argv):
        usage.show()
        return None
    asked = Asked()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-" or _NUMBER.fullmatch(word):
            asked.words.append(word)
            continue
        flag, equals, value = word.partition("=")
        if flag not in takes:
            raise usage.wrong(unknown("option", flag, [name for name in takes if name.startswith("--")]))
        if takes[flag]:
            value = value if equals else rest.pop(0) if rest and not rest[0].startswith("--") else ""
            if not value:
                raise usage.wrong(f"{flag} needs a value")
        elif equals:
            raise usage.wrong(f"{flag} takes no value")
        asked.options[flag] = value
    if "--name" in asked.options and "--control" in asked.options:
        raise usage.wrong("--name and --control both say which instance: drop one of them")
    if asked.options.get("--control", "").lower() in OFF_WORDS:
        raise usage.wrong("--control needs the path of a control socket here")
    return asked


def no_words(usage: Usage, asked: Asked) -> None:
    """Refuses arguments of a command that has none."""
    if asked.words:
        raise usage.wrong(f"swell {usage.command} takes no arguments, not {asked.words[0]}")


def answered(asked: Asked, document: Mapping[str, Any]) -> None:
    """Prints the answer to a command: its sentence, or the document with --json."""
    emit(json.dumps(document, indent=2) if "--json" in asked.options else str(document.get("text", "done")))


class Progress:
    """One line on the terminal that tells how a long command is getting on; where none can be rewritten, a new line
    now and then; nothing where nobody watches. Call it with the instance's status; `clear` before anything else is
    printed."""

    # Lines that stay are written after these seconds, and again after as many.
    SELDOM = 10.0

    def __init__(self, doing: str, before: Mapping[str, Any] | None = None) -> None:
        self._doing = doing
        self._generation = before["instance"]["generation"] if before is not None else None
        self._began = self._last = time.monotonic()
        self._watched = sys.stderr.isatty()
        self._rewrites = rewrites(sys.stderr)

    def __call__(self, status: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if not self._watched or (not self._rewrites and now - self._last < self.SELDOM):
            return
        self._last = now
        text = f"{self._doing}: {self._state(status)}, {show_duration(round(now - self._began))}"
        sys.stderr.write(erase() + text if self._rewrites else text + "\n")
        sys.stderr.flush()

    def _state(self, status: Mapping[str, Any]) -> str:
        workers = status["workers"]
        if self._generation is None:
            running = sum(worker["in_flight"] for worker in workers)
            return f"{_count(len(workers), 'worker')} left, {_count(running, 'request')} running"
        fresh = [worker for worker in workers if worker["generation"] > self._generation]
        ready = sum(worker["state"] == "ready" for worker in fresh)
        return f"{ready} of {_count(status['instance']['target'], 'new worker')} ready"

    def clear(self) -> None:
        if self._watched and self._rewrites:
            sys.stderr.write(erase())
            sys.stderr.flush()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
