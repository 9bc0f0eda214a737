"""docs/http2.md names every difference that keeps a test from running over HTTP/2, and no marker names another."""

from __future__ import annotations

import re
from pathlib import Path

from support.backends import DIFFERENCES

ROOT = Path(__file__).parents[2]


def rows() -> list[str]:
    text = (ROOT / "docs" / "http2.md").read_text(encoding="utf-8")
    table = text.partition("## Beside HTTP/1.1\n")[2].partition("\n## ")[0]
    return re.findall(r"(?m)^\| \*\*(.+?)\*\* \|", table)


def test_every_difference_is_explained() -> None:
    assert sorted(rows()) == sorted(DIFFERENCES)


def test_every_difference_is_one_of_a_test() -> None:
    used = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        used |= set(re.findall(r'mark\.http1\("([^"]+)"\)', path.read_text(encoding="utf-8")))
    assert used == set(DIFFERENCES)
