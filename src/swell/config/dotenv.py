r"""The file of --env-file: `NAME=value` lines for the application's environment.

Blank lines and lines that begin with `#` are skipped, `export` in front is allowed. A value is taken as it stands, up
to ` #`; in single quotes literally; in double quotes with `\n`, `\t`, `\"` and `\\`. Quoted values may span lines.
There is no expansion of `$NAME`. Read by the worker before it imports the application; variables that are set already
win.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path

from swell.errors import ConfigError

__all__ = ["load_env_file", "parse_env"]

_ENTRY = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_.]*)[^\S\n]*=[^\S\n]*
    (?: '(?P<single>[^']*)' | "(?P<double>(?:[^"\\]|\\.)*)" | (?P<plain>(?!['"])[^\n]*?) )
    [^\S\n]*(?:(?<=\s)\#[^\n]*)?(?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_SKIPPED = re.compile(r"[^\S\n]*(?:#[^\n]*)?(?:\n|\Z)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$"}


def parse_env(text: str) -> dict[str, str]:
    """The variables of such a file. Raises `ValueError` naming the line that is not one."""
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        if skipped := _SKIPPED.match(text, position):
            position = skipped.end()
            continue
        entry = _ENTRY.match(text, position)
        if entry is None:
            raise ValueError(f"line {text.count(chr(10), 0, position) + 1} is not NAME=value")
        value = entry["plain"] if entry["plain"] is not None else entry["single"]
        if value is None:
            value = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), entry["double"], flags=re.DOTALL)
        found[entry["name"]] = value
        position = entry.end()
    return found


def load_env_file(path: str, environ: MutableMapping[str, str]) -> None:
    """Sets the variables of the file that are not set yet. Raises `ConfigError` if it cannot be read."""
    try:
        variables = parse_env(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--env-file {path}: {error}") from error
    for name, value in variables.items():
        environ.setdefault(name, value)
