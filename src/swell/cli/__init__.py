"""The command `swell`: `swell serve APP`, the short form `swell APP`, and what surrounds it.

One file per command. This one finds the command and turns errors into lines and exit codes: 0 done, 1 could not serve,
2 wrong options, 3 the application could not be loaded or started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from swell.cli import (
    cert,
    config,
    doctor,
    drain,
    dump,
    explain,
    logs,
    profile,
    reload,
    restart,
    scale,
    serve,
    status,
    stop,
    tasks,
    top,
    version,
)
from swell.cli.output import fail
from swell.config.nearest import nearest
from swell.errors import ConfigError, SwellError

__all__ = ["main"]

Command = Callable[[Sequence[str]], int]

_COMMANDS: Mapping[str, tuple[Command, str]] = {
    "serve": (serve.main, serve.SUMMARY),
    "status": (status.main, status.SUMMARY),
    "scale": (scale.main, scale.SUMMARY),
    "reload": (reload.main, reload.SUMMARY),
    "restart": (restart.main, restart.SUMMARY),
    "drain": (drain.main, drain.SUMMARY),
    "stop": (stop.main, stop.SUMMARY),
    "explain": (explain.main, explain.SUMMARY),
    "top": (top.main, top.SUMMARY),
    "logs": (logs.main, logs.SUMMARY),
    "profile": (profile.main, profile.SUMMARY),
    "tasks": (tasks.main, tasks.SUMMARY),
    "dump": (dump.main, dump.SUMMARY),
    "cert": (cert.main, cert.SUMMARY),
    "config": (config.main, config.SUMMARY),
    "doctor": (doctor.main, doctor.SUMMARY),
    "version": (version.main, version.SUMMARY),
}

# What other tools call them.
_OTHER_WORDS = {"start": "serve", "run": "serve", "ps": "status", "kill": "stop"}
# `main` and the like are applications whose attribute was forgotten, not misspelt commands.
_LIKENESS = 0.7


def _overview() -> str:
    rows = "\n".join(f"  swell {name:<10} {summary}" for name, (_, summary) in _COMMANDS.items())
    return f"""\
Swell serves ASGI applications.

usage: swell APP [options]            the same as swell serve APP [options]
       swell COMMAND [arguments]

{rows}

  swell main:app                      serve `app` of main.py on http://127.0.0.1:8000
  swell main:app --reload             the same, started again when a file changes
  swell main:app --host 0.0.0.0 --port 80 --proxy-headers

`swell serve --help` lists the options, `swell COMMAND --help` explains a command.
"""


def _find(argv: Sequence[str]) -> tuple[Command, Sequence[str]]:
    """The command that these arguments mean, and its arguments."""
    first = argv[0]
    if first in _COMMANDS:
        return _COMMANDS[first][0], argv[1:]
    if first in ("--version", "-V"):
        return version.main, argv[1:]
    guess = _OTHER_WORDS.get(first) or nearest(first, _COMMANDS, _LIKENESS)
    if first.isidentifier() and guess is not None:
        raise ConfigError(
            f"unknown command {first}: did you mean {guess}? (An application is written MODULE:ATTRIBUTE)"
        )
    return serve.main, argv


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line, `sys.argv` by default, and returns the exit code. Prints every expected error itself."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    try:
        if not words or words[0] in ("--help", "-h"):
            (sys.stdout if words else sys.stderr).write(_overview())
            return 0 if words else ConfigError.exit_code
        command, arguments = _find(words)
        status = command(arguments)
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
        return status
    except SwellError as error:
        return fail(error)
    except KeyboardInterrupt:
        # `serve` turns signals into an orderly end by itself; this ends the waiting of another command
        return 130
    except BrokenPipeError:
        # the reader of our output has left, as in `swell config | head`; spare the interpreter's own complaint at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
