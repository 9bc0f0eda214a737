"""One row of the table of options: everything that is known about an option, kept in the metadata of its field.

The rows live in `sections/`, `model.OPTIONS` collects them. The command line, the environment, files, `Config.make`,
the help and the tables of the documentation are all made from these rows; nothing else lists the options.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from typing import Any, TypeVar

from swell.config.kinds import Kind

__all__ = ["Option", "ask", "option"]

T = TypeVar("T")
_KEY = "swell"


@dataclass(frozen=True, slots=True)
class Row:
    """What a section says of an option; the rest follows from the name of the field.

    `why` defends the default, `answer` is what the peer sees when a limit is passed.
    """

    kind: Kind[Any]
    help: str
    why: str
    answer: str
    aliases: tuple[str, ...]
    environment: tuple[str, ...]
    uvicorn: str
    takes_value: bool


@dataclass(frozen=True, slots=True)
class Option:
    """`name` is the field of `Config`, `default` its value when nobody says anything."""

    name: str
    section: str
    default: Any
    row: Row

    @property
    def kind(self) -> Kind[Any]:
        return self.row.kind

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return "SWELL_" + self.name.upper()

    @property
    def is_switch(self) -> bool:
        """Stands alone on the command line, `--x` and `--no-x`."""
        return self.kind.is_flag and not self.row.takes_value

    def show(self, value: object) -> str:
        return self.kind.show(value)


def option(
    kind: Kind[T],
    default: T,
    help: str,
    *,
    why: str = "",
    answer: str = "",
    aliases: tuple[str, ...] = (),
    environment: tuple[str, ...] = (),
    uvicorn: str = "",
    takes_value: bool = False,
) -> T:
    """A field of a section.

    `aliases` are uvicorn's names for it in Python, `environment` variables without our prefix that many platforms set,
    `uvicorn` tells where uvicorn differs.
    """
    row = Row(kind, help, why, answer, aliases, environment, uvicorn, takes_value)
    return field(default=default, metadata={_KEY: row})


def ask(entry: Field[Any], section: str) -> Option:
    """The option that a dataclass field describes."""
    return Option(entry.name, section, entry.default, entry.metadata[_KEY])
