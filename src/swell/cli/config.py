"""`swell config`: every effective value and where it came from."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from swell.cli.options import effective_options
from swell.cli.output import note
from swell.config.explain import effective_as_data, effective_as_text
from swell.errors import ConfigError

__all__ = ["SUMMARY", "main"]

SUMMARY = "show every option's value and where it came from"

_USAGE = """\
usage: swell config [APP] [options]

Shows what the options come to, with the same arguments, environment and file as `swell serve`: the value of each and
where it came from. Those that are not at their default are marked with *. Nothing is started."""


def main(argv: Sequence[str]) -> int:
    """Prints the table; 0 unless the options are wrong."""
    found = effective_options(argv, _USAGE, {"--format FORMAT": "text, or json for machines. [text]"})
    if found is None:
        return 0
    effective, extras = found
    style = extras.get("--format", "text")
    if style == "json":
        sys.stdout.write(json.dumps(effective_as_data(effective), indent=2, default=str) + "\n")
    elif style == "text":
        sys.stdout.write(effective_as_text(effective) + "\n")
        note(effective.notes)
    else:
        raise ConfigError(f"--format must be text or json, not {style!r}")
    return 0
