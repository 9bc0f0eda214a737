"""Each example's header names the one command that starts it, and everything it says is still true."""

import ast
import re
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.stem))
def test_header_names_the_command(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    commands = re.findall(r"^    .*\bswell .*$", docstring, re.M)
    assert len(commands) == 1
    assert commands[0].endswith(f" examples.{path.stem}:app")


@pytest.mark.parametrize("path", sorted(EXAMPLES[0].parent.glob("*.html")), ids=lambda path: str(path.stem))
def test_page_loads_nothing_from_elsewhere(path: Path) -> None:
    loads = re.findall(r"""(?:src|href|action)\s*=\s*["'](?!data:)([^"']+)|url\((?!data:)|@import""", path.read_text())
    assert loads == []
