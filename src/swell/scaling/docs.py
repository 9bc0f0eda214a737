"""The parameters' table in docs/scaling.md, made from the policy: `python -m swell.scaling.docs [--check] [DIRECTORY]`.

Tests call `with_table` and compare, so that the page cannot fall behind.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from swell.scaling.policy import PARAMETERS

__all__ = ["PAGE", "main", "with_table"]

PAGE = "scaling.md"
_BEGIN, _END = "<!-- policy -->\n", "<!-- /policy -->"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _rows() -> Iterable[str]:
    yield "\n| Parameter | Unit | Default | Range | Meaning | Precedent |\n|---|---|---|---|---|---|\n"
    for parameter in PARAMETERS.values():
        row = parameter.row
        allowed = f"{parameter.show(row.low)} … {parameter.show(row.high)}{', or off' if row.can_be_off else ''}"
        default = parameter.show(parameter.default)
        cells = (f"`{parameter.key}`", row.unit.name, default, allowed, row.help, row.precedent)
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"
    yield "\n"


def with_table(text: str) -> str:
    """The page with its table made anew. Raises `ValueError` if the page has no place for it."""
    head, begin, rest = text.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{PAGE} has no <!-- policy --> … <!-- /policy -->")
    return "".join([head, begin, *_rows(), end, tail])


def main(argv: Sequence[str]) -> int:
    """Writes the page, or with `--check` tells whether it is out of date (1) and writes nothing."""
    check = "--check" in argv
    path = Path(next((word for word in argv if not word.startswith("-")), "docs")) / PAGE
    text = path.read_text(encoding="utf-8")
    made = with_table(text)
    if made == text:
        return 0
    if not check:
        path.write_text(made, encoding="utf-8")
    sys.stdout.write(f"{path} {'is out of date' if check else 'written'}\n")
    return 1 if check else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
