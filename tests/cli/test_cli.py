"""The command `swell`: dispatch, help, exit codes, `config` and `version`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

import pytest

import swell.supervisor
from swell.cli import main, version
from swell.config import OPTIONS, Config
from swell.errors import AppLoadError, StartupError


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file and no variable of the surroundings."""
    for name in [name for name in os.environ if name.startswith(("SWELL_", "UVICORN_"))]:
        monkeypatch.delenv(name)
    for name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


class _Parent(ModuleType):
    """Stands where `swell.supervisor.main` is: keeps the configuration that `serve` was called with."""

    def __init__(self) -> None:
        super().__init__("swell.supervisor.main")
        self.configs: list[Config] = []
        self.outcome: int | Exception = 0

    def serve(self, config: Config) -> int:
        self.configs.append(config)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> _Parent:
    replacement = _Parent()
    monkeypatch.setitem(sys.modules, "swell.supervisor.main", replacement)
    monkeypatch.setattr(swell.supervisor, "main", replacement, raising=False)
    return replacement


@pytest.mark.parametrize("line", ["serve main:app --port 9", "main:app --port 9", "--port 9 main:app"])
def test_serve_and_its_short_form(parent: _Parent, line: str) -> None:
    assert main(line.split()) == 0
    assert [(config.app, config.port) for config in parent.configs] == [("main:app", 9)]


def test_serve_returns_the_exit_code(parent: _Parent) -> None:
    parent.outcome = 3
    assert main(["main:app"]) == 3


@pytest.mark.parametrize(("error", "code"), [(StartupError("port is taken"), 1), (AppLoadError("no such module"), 3)])
def test_expected_errors_are_one_line(
    parent: _Parent, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    parent.outcome = error
    assert main(["main:app"]) == code
    assert capsys.readouterr().err == f"swell: {error}\n"


def test_notes_are_printed_before_serving(parent: _Parent, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["main:app", "--http", "h11"]) == 0
    assert capsys.readouterr().err.startswith("swell: note: --http: ")


def test_the_application_may_come_from_the_file(parent: _Parent, tmp_path: Path) -> None:
    (tmp_path / "swell.toml").write_text("app = 'pkg:app'\n")
    assert main(["serve"]) == 0
    assert parent.configs[0].app == "pkg:app"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("serve", "swell: no application: swell serve MODULE:ATTRIBUTE"),
        ("serv main:app", "swell: unknown command serv: did you mean serve?"),
        ("doctr", "swell: unknown command doctr: did you mean doctor?"),
        ("start main:app", "swell: unknown command start: did you mean serve?"),
        ("main", "swell: APP must be MODULE:ATTRIBUTE, not 'main': try main:app"),
        ("main:app --prot 1", "swell: unknown option --prot: did you mean --port?"),
        ("config --format yaml", "swell: --format must be text or json, not 'yaml'"),
        ("version now", "swell: swell version takes no arguments"),
    ],
)
def test_wrong_command_lines_exit_with_2(
    parent: _Parent, capsys: pytest.CaptureFixture[str], line: str, reason: str
) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith(reason)
    assert out == ""
    assert parent.configs == []


class _Missing(MetaPathFinder):
    """Lets the import of `swell.worker` fail for want of another module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "swell.worker":
            raise ModuleNotFoundError(f"No module named {self.name!r}", name=self.name)


def test_a_missing_native_module_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "swell.worker", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Missing("swell._core"), *sys.meta_path])
    assert main(["main:app"]) == 1
    assert "swell: the native module swell._core cannot be loaded" in capsys.readouterr().err


def test_another_missing_module_is_a_bug_and_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "swell.worker", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Missing("selectors"), *sys.meta_path])
    with pytest.raises(ModuleNotFoundError, match="selectors"):
        main(["main:app"])


def test_overview_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("serve", "config", "doctor", "version"):
        assert f"  swell {command} " in text
    assert main([]) == 2
    assert capsys.readouterr().err == text


@pytest.mark.parametrize("line", ["serve --help", "main:app -h", "help serve", "config --help", "doctor --help"])
def test_help_lists_every_option_and_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(line.split()) == 0
    text = capsys.readouterr().out
    for option in OPTIONS.values():
        assert option.name == "app" or f"  {option.flag}" in text
    assert max(len(row) for row in text.splitlines()) <= 80


def test_help_wins_over_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--prot", "--help"]) == 0
    assert "usage: swell serve" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["--version", "version", "-V", "serve --version", "main:app --version"])
def test_version_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(version, "build_profile", lambda: "release")
    monkeypatch.setattr(version, "installed", lambda name: "0.23.0")
    monkeypatch.setattr("platform.python_version", lambda: "3.11.7")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert main(line.split()) == 0
    assert capsys.readouterr().out == "swell 0.1.0 (release build, CPython 3.11.7, uvloop 0.23.0, Linux x86_64)\n"


def test_version_works_without_the_native_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "swell._core", None)
    monkeypatch.setattr(version, "installed", lambda name: None)
    assert "(native module missing, CPython" in version.version_line()
    assert ", asyncio, " in version.version_line()


def test_config_shows_values_and_origins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "swell.toml").write_text("backlog = 10\n")
    monkeypatch.setenv("SWELL_TIMEOUT_HEADER", "1m")
    assert main(["config", "main:app", "--port", "9", "--http", "h11"]) == 0
    out, err = capsys.readouterr()
    rows = {line[2:].split()[0]: (line[0], *line[2:].split()[1:]) for line in out.splitlines()}
    assert set(rows) == set(OPTIONS)
    assert rows["port"] == ("*", "9", "--port")
    assert rows["backlog"] == ("*", "10", "swell.toml:", "backlog")
    assert rows["timeout_header"] == ("*", "60s", "SWELL_TIMEOUT_HEADER")
    assert rows["timeout_keep_alive"] == (" ", "75s", "default")
    assert err.startswith("swell: note: --http")


def test_config_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "main:app", "--port=9", "--format=json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data["options"]) == set(OPTIONS)
    assert data["options"]["port"] == {"value": 9, "text": "9", "source": "--port", "section": "Addresses"}
    assert data["options"]["timeout_request"]["value"] is None
    assert data["options"]["ws_max_size"] == {
        "value": 16777216, "text": "16MiB", "source": "default", "section": "WebSocket",
    }  # fmt: skip
    assert data["notes"] == []


def test_python_dash_m_and_exit_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "swell", "main:app", "--prot", "1"],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("swell: unknown option --prot: did you mean --port?\n")
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_causes_no_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "swell", "config"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            cwd=tmp_path,
        )
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == 1
