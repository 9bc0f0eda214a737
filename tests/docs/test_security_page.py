"""Every entry of docs/security.md says who acts, with which setting, and names tests that exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from swell.config import OPTIONS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ENTRIES = {entry.partition("\n")[0]: entry for entry in re.split(r"(?m)^### ", TEXT)[1:]}
REFERENCE = re.compile(r"`((?:tests|crates)/[\w/]+\.(?:py|rs))(?:::([\w:]+))?`")


@functools.cache
def functions(path: Path) -> set[str]:
    """The names of a file's tests; those inside classes as `Class::name`."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".rs":
        return set(re.findall(r"#\[test\]\s*fn (\w+)\(", text))
    found: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            inner = {item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
            found |= {f"{node.name}::{name}" for name in inner} | {node.name}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found


def test_there_are_entries() -> None:
    assert len(ENTRIES) > 20


@pytest.mark.parametrize("title", ENTRIES)
def test_entry_is_whole(title: str) -> None:
    entry = ENTRIES[title]
    for part in ("**Who**", "**Setting**", "**Tests**"):
        assert part in entry, part


@pytest.mark.parametrize("title", ENTRIES)
def test_named_tests_exist(title: str) -> None:
    references = REFERENCE.findall(ENTRIES[title].partition("**Tests**")[2])
    assert references
    for name, function in references:
        path = ROOT / name
        assert path.is_file(), name
        if function:
            assert function in functions(path), f"{name}::{function}"


@pytest.mark.parametrize("title", ENTRIES)
def test_stated_defaults_are_the_defaults(title: str) -> None:
    for flag, default in re.findall(r"`(--[a-z-]+)` \(([^)]+)\)", ENTRIES[title]):
        option = next(option for option in OPTIONS.values() if option.flag == flag)
        assert default == (option.show(option.default) or "nobody"), flag
