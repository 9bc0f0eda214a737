"""A wrong name, told with the nearest right one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["nearest", "unknown"]


def nearest(name: str, valid: Iterable[str], likeness: float = 0.6) -> str | None:
    """The most similar valid name, whatever its case; `None` if nothing comes close.

    The prefixes `--` and `SWELL_` make no name like another.
    """
    names = {_bare(other): other for other in valid}
    found = difflib.get_close_matches(_bare(name), names, n=1, cutoff=likeness)
    return names[found[0]] if found else None


def _bare(name: str) -> str:
    return name.lower().removeprefix("--").removeprefix("swell_")


def unknown(what: str, name: str, valid: Iterable[str]) -> str:
    """One line: `unknown option --prot: did you mean --port?`"""
    guess = nearest(name, valid)
    return f"unknown {what} {name}" + (f": did you mean {guess}?" if guess else "")
