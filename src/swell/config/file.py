"""Options from a file: `swell.toml`, or the table `[tool.swell]` of `pyproject.toml`, in the current directory.

Keys are the names of the options, with `_` or `-`. Paths in it are relative to the current directory, as everywhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from swell.config.foreign import FOREIGN
from swell.config.layers import Layer
from swell.config.model import OPTIONS, find_option
from swell.config.nearest import unknown
from swell.config.units import OFF_WORDS

__all__ = ["read_file"]


def read_file(named: str | None, directory: Path) -> Layer:
    """The layer of the file `named`, of the one found in `directory` if `None`, of no file if `off`."""
    layer = Layer()
    if named is not None:
        if named.lower() not in OFF_WORDS:
            _read(directory / named, named, layer, required=True)
    elif (directory / "swell.toml").is_file():
        _read(directory / "swell.toml", "swell.toml", layer)
    elif (directory / "pyproject.toml").is_file():
        _read(directory / "pyproject.toml", "pyproject.toml", layer)
    return layer


def _read(path: Path, label: str, layer: Layer, *, required: bool = False) -> None:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        layer.problems.append(f"{label} cannot be read: {error.strerror}")
        return
    except ValueError as error:
        # a broken pyproject.toml of a project that does not configure Swell in it is not our business
        if required or path.name != "pyproject.toml":
            layer.problems.append(f"{label} is not valid TOML: {error}")
        else:
            layer.notes.append(f"{label} was not read, it is not valid TOML: {error}")
        return
    if path.name == "pyproject.toml":
        tool = content.get("tool")
        table = tool.get("swell", {}) if isinstance(tool, dict) else {}
        label = f"{label} [tool.swell]"
    else:
        table = content
    if not isinstance(table, dict):
        layer.problems.append(f"{label} must be a table")
        return
    _take(table, label, layer)


def _take(table: Mapping[str, object], label: str, layer: Layer) -> None:
    for key, value in table.items():
        option = find_option(key)
        if option is not None:
            if option.name in layer.origins:
                layer.problems.append(f"{label} sets {option.name} twice, once as {key}")
            else:
                layer.put(option, value, f"{label}: {key}")
        elif key.replace("-", "_") in FOREIGN:
            layer.put_foreign(key.replace("-", "_"), value, f"{label}: {key}")
        else:
            layer.problems.append(f"{label}: {unknown('option', key.replace('-', '_'), OPTIONS)}")
