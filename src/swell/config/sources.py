"""All places together: what a command calls to know its options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from swell.config.environment import CONFIG_VARIABLE, read_environment
from swell.config.file import read_file
from swell.config.layers import Effective, Layer, merge

__all__ = ["load"]


def load(command_line: Layer, *, environ: Mapping[str, str], directory: Path, file: str | None = None) -> Effective:
    """Defaults < file < environment < command line. `file` is what --config said, if anything."""
    named = file if file is not None else environ.get(CONFIG_VARIABLE) or None
    return merge([read_file(named, directory), read_environment(environ), command_line])
