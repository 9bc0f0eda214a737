"""What the commands print around their work: errors, notes, and widths. Knows no command."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable

from swell.errors import ConfigError, SwellError, UsageError

__all__ = ["fail", "note", "terminal_width"]


def terminal_width() -> int:
    """Columns to wrap help at: the terminal's, within what reads well."""
    return max(60, min(shutil.get_terminal_size().columns, 120))


def fail(error: SwellError) -> int:
    """Prints an expected error, one line per problem, and returns its exit code."""
    for line in error.problems if isinstance(error, ConfigError) else (str(error),):
        sys.stderr.write(f"swell: {line}\n")
    if isinstance(error, UsageError):
        sys.stderr.write(f"`{error.help}` explains the command.\n")
    elif isinstance(error, ConfigError):
        sys.stderr.write("`swell serve --help` lists the options, `swell config` shows what they come to.\n")
    return error.exit_code


def note(notes: Iterable[str]) -> None:
    """Prints remarks that do not keep the server from starting."""
    for line in notes:
        sys.stderr.write(f"swell: note: {line}\n")
