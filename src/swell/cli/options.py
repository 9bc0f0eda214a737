"""The part that serve, config and doctor share: read the options from everywhere, or show the help instead."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from swell.cli.output import terminal_width
from swell.config.arguments import read_arguments
from swell.config.explain import entry, option_help
from swell.config.layers import Effective
from swell.config.sources import load

__all__ = ["effective_options"]

_COMMON = {
    "--config FILE": "Read options from this TOML file instead of ./swell.toml or ./pyproject.toml [tool.swell]; off"
    " reads none.",
    "-h, --help": "Show this text.",
}


def effective_options(
    argv: Sequence[str], usage: str, extras: Mapping[str, str] | None = None
) -> tuple[Effective, Mapping[str, str]] | None:
    """All options, and the values of the command's own flags. `None` when help was asked for and printed.

    `extras` are those flags, written as in the help (`--format FORMAT`), with their explanations.
    """
    own = {**(extras or {}), **_COMMON}
    flags = {flag: " " in term.split(", ")[-1] for term in own for flag in _flags(term)}
    arguments = read_arguments(argv, flags)
    if "-h" in arguments.extras or "--help" in arguments.extras:
        width = terminal_width()
        rows = "\n".join(entry(term, text, width) for term, text in own.items())
        sys.stdout.write(f"{_wrapped(usage, width)}\n\nThis command:\n{rows}\n\n{option_help(width)}\n")
        return None
    effective = load(arguments.layer, environ=os.environ, directory=Path.cwd(), file=arguments.extras.get("--config"))
    return effective, arguments.extras


def _wrapped(usage: str, width: int) -> str:
    """The lines of usage as they are, the paragraphs below within the width."""
    lines, *paragraphs = usage.split("\n\n")
    return "\n\n".join([lines, *(textwrap.fill(" ".join(text.split()), width) for text in paragraphs)])


def _flags(term: str) -> list[str]:
    return [part.split(" ")[0] for part in term.split(", ")]
