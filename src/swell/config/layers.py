"""Values from several places, put on top of each other: defaults < file < environment < command line.

A reader (`file`, `environment`, `arguments`) fills one `Layer`; `merge` makes one `Effective` of them, which
remembers for every option where its value came from. All mistakes of all layers are reported together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swell.config.foreign import FOREIGN
from swell.config.model import OPTIONS, Config
from swell.config.option import Option
from swell.errors import ConfigError

__all__ = ["DEFAULT", "Effective", "Layer", "merge"]

DEFAULT = "default"


@dataclass(slots=True)
class Layer:
    """What one place says: values that were read, where each stood, and what was wrong or worth a word."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put(self, option: Option, raw: object, where: str) -> None:
        """Reads a raw value and keeps it, or the reason why it cannot be."""
        try:
            self.values[option.name] = option.kind.read(raw)
        except ValueError as error:
            self.problems.append(f"{where} {error}")
        else:
            self.origins[option.name] = where

    def put_foreign(self, name: str, raw: object, where: str) -> None:
        """An option of uvicorn's that Swell does not have."""
        foreign = FOREIGN[name]
        self.problems.extend(line.replace(foreign.flag, where, 1) for line in foreign.refusals(raw))
        if note := foreign.note(raw):
            self.notes.append(f"{where}: {note}")


@dataclass(frozen=True, slots=True)
class Effective:
    """The result: `origins` names for each option the file, variable or flag that set it, or `default`."""

    config: Config
    origins: Mapping[str, str]
    notes: tuple[str, ...]


# Options that stand for the same thing in different ways. The topmost layer that names one way settles it, so that
# a --uds on the command line needs no counter-order against the port of a file. Within one layer they contradict.
_RIVALS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("bind",), ("host", "port"), ("uds",), ("fd",)),
    (("reload",), ("workers",)),
)


def _claims(layer: Layer, name: str) -> bool:
    if name not in layer.values:
        return False
    # naming the default port is a choice of an address; switching off what is off by default is not
    return name in ("host", "port") or layer.values[name] != OPTIONS[name].default


def merge(layers: Sequence[Layer]) -> Effective:
    """Later layers win. Raises `ConfigError` with every problem of every layer."""
    values: dict[str, Any] = {}
    origins = dict.fromkeys(OPTIONS, DEFAULT)
    problems = [problem for layer in layers for problem in layer.problems]
    for layer in layers:
        for ways in _RIVALS:
            claimed = [way for way in ways if any(_claims(layer, name) for name in way)]
            if not claimed:
                continue
            if len(claimed) > 1 and ways is _RIVALS[0]:
                named = [layer.origins[name] for way in claimed for name in way if _claims(layer, name)]
                problems.append(f"{' and '.join(named)} name different addresses: use --bind for each of them")
            for name in (name for way in ways if way not in claimed for name in way):
                values.pop(name, None)
                origins[name] = DEFAULT
        values.update(layer.values)
        origins.update(layer.origins)
    if problems:
        raise ConfigError(problems)
    config = Config(**values)
    return Effective(config, origins, tuple(note for layer in layers for note in layer.notes))
