"""Each example's header names the one command that starts it, and everything it says is still true."""

import ast
import re
import shlex
import sys
from pathlib import Path

import httpx
import pytest
from apps.running import SERVER, running_command

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


def command(path: Path) -> list[str]:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    commands = re.findall(r"^    (?:pip install \S+ && )?swell (.*)$", docstring, re.M)
    assert len(commands) == 1
    return shlex.split(commands[0])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.stem))
def test_the_command_in_the_header_serves_the_example(path: Path, tmp_path: Path) -> None:
    words = command(path)
    assert words[-1] == f"examples.{path.stem}:app"
    if SERVER == "uvicorn" and len(words) > 1:
        pytest.skip("uvicorn has no limit for bodies")
    started = [sys.executable, "-m", SERVER, *words, "--port", "0"]
    with running_command(started, cwd=REPOSITORY, env={"BOOKS_DB": str(tmp_path / "books.sqlite3")}) as server:
        page = "/docs" if path.stem == "crud_fastapi" else "/"
        response = httpx.get(server.url + page, headers={"accept": "text/html"})
        assert response.status_code == 200
        assert "<title>" in response.text
        if "--limit-body-size" in words:
            assert httpx.post(f"{server.url}/books", content=b"x" * 65_537).status_code == 413


@pytest.mark.parametrize("path", sorted(EXAMPLES[0].parent.glob("*.html")), ids=lambda path: str(path.stem))
def test_page_loads_nothing_from_elsewhere(path: Path) -> None:
    loads = re.findall(r"""(?:src|href|action)\s*=\s*["'](?!data:)([^"']+)|url\((?!data:)|@import""", path.read_text())
    assert loads == []
