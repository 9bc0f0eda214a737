"""One row of the table of scaling parameters: how its values are read, checked and shown.

`policy` writes the rows, as metadata of its fields. Knows no parameter by name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swell.config.units import read_duration, show_duration

__all__ = ["COUNT", "DURATION", "FACTOR", "SHARE", "Parameter", "ask", "row"]

_KEY = "swell"
_OFF = frozenset({"off", "none"})


@dataclass(frozen=True, slots=True)
class Unit:
    """How a value is read from TOML and shown. `read` raises `ValueError` with a predicate ("must be ...")."""

    name: str
    read: Callable[[object], float]
    show: Callable[[float], str]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number, not {value!r}")
    return number


def _share(value: object) -> float:
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return _number(float(value.strip()[:-1]) / 100)
        except ValueError:
            raise ValueError(f"must be a share such as 0.65 or 65%, not {value!r}") from None
    return _number(value)


def _count(value: object) -> float:
    number = _number(value)
    if number != int(number):
        raise ValueError(f"must be a whole number, not {value!r}")
    return int(number)


SHARE = Unit("share", _share, lambda value: f"{value * 100:.10g} %")
DURATION = Unit("duration", read_duration, show_duration)
FACTOR = Unit("factor", _number, lambda value: f"{value:.10g}")
COUNT = Unit("count", _count, lambda value: f"{value:.0f}")


@dataclass(frozen=True, slots=True)
class Row:
    """What the policy says of a parameter; the rest follows from the name of the field."""

    unit: Unit
    low: float
    high: float
    can_be_off: bool
    help: str
    precedent: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the table. `default` is the field's; `None` means off."""

    name: str
    default: float | None
    row: Row

    @property
    def key(self) -> str:
        """Its name in the file."""
        return self.name.replace("_", "-")

    def read(self, value: object) -> float | None:
        """The checked value. Raises `ValueError` with a predicate."""
        if self.row.can_be_off and (value is None or (isinstance(value, str) and value.strip().lower() in _OFF)):
            return None
        number = self.row.unit.read(value)
        if not self.row.low <= number <= self.row.high:
            raise ValueError(
                f"must lie between {self.show(self.row.low)} and {self.show(self.row.high)}, not {value!r}"
            )
        return number

    def show(self, value: float | None) -> str:
        return "off" if value is None else self.row.unit.show(value)


def row(unit: Unit, default: Any, low: float, high: float, help: str, precedent: str, *, off: bool = False) -> Any:
    return dataclasses.field(default=default, metadata={_KEY: Row(unit, low, high, off, help, precedent)})


def ask(entry: dataclasses.Field[Any]) -> Parameter:
    """The parameter that a dataclass field describes."""
    default: Any = entry.default
    return Parameter(entry.name, default, entry.metadata[_KEY])
