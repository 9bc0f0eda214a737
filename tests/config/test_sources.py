"""Files, the environment and the command line: what each says, who wins, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from swell.config import ConfigError, TcpAddress, UnixAddress
from swell.config.arguments import read_arguments
from swell.config.layers import Effective
from swell.config.sources import load
from swell.config.workers import WorkerRange


def _load(
    directory: Path, line: str = "main:app", environ: Mapping[str, str] | None = None, file: str | None = None
) -> Effective:
    return load(read_arguments(line.split(), {}).layer, environ=environ or {}, directory=directory, file=file)


def _problems(
    directory: Path, line: str = "main:app", environ: Mapping[str, str] | None = None, file: str | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(directory, line, environ, file)
    return str(caught.value)


def test_precedence_default_file_environment_command_line(tmp_path: Path) -> None:
    assert _load(tmp_path).origins["port"] == "default"
    (tmp_path / "swell.toml").write_text("port = 1\nbacklog = 10\nlog-level = 'debug'\n")
    environ = {"SWELL_PORT": "2", "SWELL_BACKLOG": "20"}
    effective = _load(tmp_path, "main:app --port 3", environ)
    assert (effective.config.port, effective.origins["port"]) == (3, "--port")
    assert (effective.config.backlog, effective.origins["backlog"]) == (20, "SWELL_BACKLOG")
    assert (effective.config.log_level, effective.origins["log_level"]) == ("debug", "swell.toml: log-level")
    assert effective.origins["access_log"] == "default"
    assert effective.origins["app"] == "APP"


# --- files


def test_pyproject_is_read_when_there_is_no_swell_toml(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.swell]\napp = 'pkg:app'\nport = 1\n[tool.other]\nx = 1\n")
    effective = _load(tmp_path, "")
    assert (effective.config.app, effective.config.port) == ("pkg:app", 1)
    assert effective.origins["port"] == "pyproject.toml [tool.swell]: port"
    (tmp_path / "swell.toml").write_text("port = 2\n")
    assert _load(tmp_path, "").config.port == 2
    assert _load(tmp_path, "").config.app == ""


def test_a_pyproject_of_someone_else_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[project]\nname = 'x'\n")
    assert _load(tmp_path).config.port == 8000
    path.write_text("not toml")
    assert "not valid TOML" in _load(tmp_path).notes[0]
    assert "not valid TOML" in _problems(tmp_path, file="pyproject.toml")


def test_types_of_toml(tmp_path: Path) -> None:
    (tmp_path / "swell.toml").write_text(
        "bind = ['127.0.0.1:80', 'unix:x.sock']\naccess_log = false\ntimeout-header = 2.5\nlimit_body_size = '1m'\n"
        "timeout_request = 'off'\nuse-colors = 'auto'\nheaders = ['X-A: 1', 'X-B: a, b']\n"
    )
    config = _load(tmp_path).config
    assert config.addresses == (TcpAddress("127.0.0.1", 80), UnixAddress("x.sock"))
    assert (config.access_log, config.timeout_header, config.limit_body_size) == (False, 2.5, 1 << 20)
    assert (config.timeout_request, config.use_colors) == (None, None)
    assert config.header == (("X-A", "1"), ("X-B", "a, b"))
    (tmp_path / "swell.toml").write_text("[header]\nX-A = '1'\n")
    assert _load(tmp_path).config.header == (("X-A", "1"),)


def test_a_named_file_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "swell.toml").write_text("port = 1\n")
    (tmp_path / "other.toml").write_text("port = 2\n")
    assert _load(tmp_path, file="other.toml").config.port == 2
    assert _load(tmp_path, environ={"SWELL_CONFIG": "other.toml"}).config.port == 2
    assert _load(tmp_path, file="off", environ={"SWELL_CONFIG": "other.toml"}).config.port == 8000
    assert "missing.toml cannot be read: No such file" in _problems(tmp_path, file="missing.toml")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("prot = 1", "swell.toml: unknown option prot: did you mean port?"),
        ("port = 'x'", "swell.toml: port must be a whole number"),
        ("port = 1.5", "swell.toml: port must be a whole number"),
        ("port = ", "swell.toml is not valid TOML"),
        ("port = 1\n[limits]\nx = 1", "unknown option limits"),
        ("reload_dir = ['.']\nreload-dirs = ['.']", "sets reload_dir twice, once as reload-dirs"),
        ("ssl-context-factory = 'x'", "swell.toml: ssl-context-factory: TLS is not Python's ssl module"),
        ("backlog = 0\nport = -1", "backlog must lie between"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "swell.toml").write_text(text)
    assert reason in _problems(tmp_path)


# --- environment


def test_environment_of_every_kind(tmp_path: Path) -> None:
    environ = {
        "SWELL_APP": "pkg:app", "SWELL_BIND": "127.0.0.1:80,[::1]:80", "SWELL_ACCESS_LOG": "false",
        "SWELL_TIMEOUT_HEADER": "500ms", "SWELL_LIMIT_HEAD_SIZE": "128k", "SWELL_LIMIT_CONCURRENCY": "off",
        "SWELL_HEADER": "X-A: 1\nX-B: a, b", "SWELL_ROOT_PATH": "", "PATH": "/bin", "SWELL_USE_COLORS": "on",
    }  # fmt: skip
    config = _load(tmp_path, "", environ).config
    assert config.app == "pkg:app"
    assert config.bind == ("127.0.0.1:80", "[::1]:80")
    assert (config.access_log, config.use_colors) == (False, True)
    assert (config.timeout_header, config.limit_head_size, config.limit_concurrency) == (0.5, 131072, None)
    assert config.header == (("X-A", "1"), ("X-B", "a, b"))


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    assert _load(tmp_path, environ={"SWELL_PORT": "", "WEB_CONCURRENCY": ""}).origins["port"] == "default"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("SWELL_PROT", "1", "unknown variable SWELL_PROT: did you mean SWELL_PORT?"),
        ("SWELL_TIMEOUT_KEEPALIVE", "1", "did you mean SWELL_TIMEOUT_KEEP_ALIVE?"),
        ("SWELL_port", "1", "unknown variable SWELL_port"),
        ("SWELL_PORT", "http", "SWELL_PORT must be a whole number"),
        ("SWELL_SSL_CIPHERS", "x", "SWELL_SSL_CIPHERS x: cipher suites are not picked one by one"),
        ("SWELL_WORKERS", "four", "SWELL_WORKERS must be a number, a range such as 1..8, or auto"),
        ("SWELL_WORKERS", "999", "SWELL_WORKERS must be at most 256"),
    ],
)
def test_a_wrong_variable_is_refused(tmp_path: Path, name: str, value: str, reason: str) -> None:
    assert reason in _problems(tmp_path, environ={name: value})


def test_a_variable_like_no_other_gets_no_guess(tmp_path: Path) -> None:
    assert _problems(tmp_path, environ={"SWELL_BOGUS": "1"}) == "unknown variable SWELL_BOGUS"


def test_variables_of_platforms_stand_in_for_ours(tmp_path: Path) -> None:
    effective = _load(tmp_path, environ={"FORWARDED_ALLOW_IPS": "10.0.0.0/8", "WEB_CONCURRENCY": "1"})
    assert effective.config.forwarded_allow_ips == ("10.0.0.0/8",)
    assert effective.origins["forwarded_allow_ips"] == "FORWARDED_ALLOW_IPS"
    both = {"FORWARDED_ALLOW_IPS": "10.0.0.0/8", "SWELL_FORWARDED_ALLOW_IPS": "*"}
    assert _load(tmp_path, environ=both).config.forwarded_allow_ips == ("*",)


def test_a_platform_that_asks_for_workers_gets_them(tmp_path: Path) -> None:
    effective = _load(tmp_path, environ={"WEB_CONCURRENCY": "4"})
    assert effective.config.workers == WorkerRange(4, 4)
    assert effective.origins["workers"] == "WEB_CONCURRENCY"


def test_a_kubernetes_service_called_swell_is_not_taken_for_options(tmp_path: Path) -> None:
    environ = {
        "SWELL_SERVICE_HOST": "10.0.0.1", "SWELL_SERVICE_PORT": "80", "SWELL_SERVICE_PORT_HTTP": "80",
        "SWELL_PORT": "tcp://10.0.0.1:80", "SWELL_PORT_80_TCP": "tcp://10.0.0.1:80",
        "SWELL_PORT_80_TCP_ADDR": "10.0.0.1",
    }  # fmt: skip
    effective = _load(tmp_path, environ=environ)
    assert effective.config.port == 8000
    assert len(effective.notes) == len(environ)


def test_variables_of_uvicorn_are_mentioned(tmp_path: Path) -> None:
    effective = _load(tmp_path, environ={"UVICORN_PORT": "80", "UVICORN_OTHER": "1"})
    assert effective.notes == ("UVICORN_PORT is not read: the variable is called SWELL_PORT",)


# --- different ways to the same thing


def test_the_topmost_place_that_names_an_address_settles_it(tmp_path: Path) -> None:
    (tmp_path / "swell.toml").write_text("host = '0.0.0.0'\nport = 80\n")
    effective = _load(tmp_path, "main:app --uds /run/x.sock")
    assert effective.config.addresses == (UnixAddress("/run/x.sock"),)
    assert effective.origins["port"] == "default"
    assert _load(tmp_path, environ={"SWELL_BIND": "[::1]:1"}).config.addresses == (TcpAddress("::1", 1),)
    assert _load(tmp_path, "main:app --port 81").config.addresses == (TcpAddress("0.0.0.0", 81),)


def test_the_default_port_is_a_choice_too(tmp_path: Path) -> None:
    (tmp_path / "swell.toml").write_text("uds = '/run/x.sock'\n")
    assert _load(tmp_path, "main:app --port 8000").config.addresses == (TcpAddress("127.0.0.1", 8000),)


@pytest.mark.parametrize(
    "line", ["--bind 127.0.0.1:1 --port 2", "--uds /x --host 0.0.0.0", "--uds /x --fd 3", "--bind fd:3 --uds /x"]
)
def test_two_ways_in_one_place_contradict_each_other(tmp_path: Path, line: str) -> None:
    assert "name different addresses" in _problems(tmp_path, f"main:app {line}")


def test_reload_on_the_command_line_wins_over_workers_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "swell.toml").write_text("workers = 4\n")
    assert _load(tmp_path, "main:app --reload").config.workers == WorkerRange(1, 1)
    assert "--reload runs one worker" in _problems(tmp_path, "main:app --reload --workers 4")


def test_mistakes_of_all_places_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "swell.toml").write_text("prot = 1\n")
    text = _problems(tmp_path, "main:app --prot 1", {"SWELL_PROT": "1"})
    assert [line.split()[0] for line in text.splitlines()] == ["swell.toml:", "unknown", "unknown"]
