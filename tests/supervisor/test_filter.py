"""Which changes `--reload` takes notice of."""

import os
from pathlib import Path
from typing import Any

import pytest

from swell import Config
from swell.supervisor.changes import Filter


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = Path(os.path.realpath(tmp_path)) / "project"
    for directory in ("src", "templates/mail", "generated", ".venv/lib", "../other"):
        (root / directory).mkdir(parents=True)
    monkeypatch.chdir(root)
    return root


def wanted(path: str, **options: Any) -> bool:
    return Filter(Config.make("main:app", reload=True, **options))(os.path.abspath(path))


@pytest.mark.parametrize("path", ["main.py", "src/main.py", "src/.hidden.py"])
def test_python_files_by_default(project: Path, path: str) -> None:
    assert wanted(path)


@pytest.mark.parametrize(
    "path",
    [
        "notes.txt",
        "main.pyc",
        "main.py~",
        "__pycache__/main.py",
        ".venv/lib/site.py",
        "src/node_modules/tool.py",
        ".git/hooks/hook.py",
    ],
)
def test_not_what_nobody_edits(project: Path, path: str) -> None:
    assert not wanted(path)


@pytest.mark.parametrize(
    ("pattern", "path", "taken"),
    [
        ("*.html", "templates/index.html", True),
        ("*.html", "templates/mail/welcome.html", True),
        ("*.html", "templates/style.css", False),
        ("templates/*.html", "templates/mail/welcome.html", True),
        ("templates/*.html", "src/index.html", False),
        ("templates", "templates/mail/style.css", True),
        ("templates", "src/style.css", False),
        (".env", ".env", True),
    ],
)
def test_includes(project: Path, pattern: str, path: str, taken: bool) -> None:
    assert wanted(path, reload_include=[pattern]) is taken
    assert wanted("main.py", reload_include=[pattern]), "they come on top of *.py"


@pytest.mark.parametrize(
    ("pattern", "path", "taken"),
    [
        ("test_*.py", "src/test_it.py", False),
        ("test_*.py", "src/it.py", True),
        ("generated", "generated/models.py", False),
        ("not_there_yet", "src/not_there_yet/models.py", False),
        ("src/*.py", "src/main.py", False),
        ("src/*.py", "main.py", True),
    ],
)
def test_excludes_win(project: Path, pattern: str, path: str, taken: bool) -> None:
    assert wanted(path, reload_exclude=[pattern], reload_include=["*"]) is taken


def test_the_current_directory_and_a_foreign_app_dir_are_watched(project: Path) -> None:
    def directories(**options: Any) -> list[Path]:
        return Filter(Config.make("main:app", reload=True, **options)).directories

    other = project.parent / "other"
    assert directories() == [project]
    assert directories(app_dir="src") == [project]
    assert directories(app_dir=str(other)) == [project, other]
    assert directories(reload_dir=["src"]) == [project / "src"]
    assert directories(reload_dir=["src", "src"]) == [project / "src"]
    assert directories(reload_dir=["src"], reload_include=[str(other)]) == [project / "src", other]
