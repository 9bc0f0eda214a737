"""`Config`: what it holds, what it takes from Python, and what it cannot hold."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import swell
from swell.config import OPTIONS, Config, ConfigError
from swell.config.workers import WorkerRange
from swell.errors import SwellError


async def _app(scope: object, receive: object, send: object) -> None:
    """An application that is only passed around."""


def test_every_option_has_its_texts() -> None:
    for option in OPTIONS.values():
        assert option.row.help.endswith("."), option.name
        if option.name.startswith(("limit_", "timeout_")) and option.section != "Workers":
            assert option.row.why, option.name
            assert option.row.answer, option.name


def test_every_default_is_valid_and_survives_being_shown() -> None:
    config = Config()
    for option in OPTIONS.values():
        assert option.kind.read(option.default) == option.default, option.name
        assert option.kind.read(option.show(option.default)) == option.default, option.name
        assert getattr(config, option.name) == option.default, option.name


def test_config_is_frozen_and_has_no_room_for_misspelt_names() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.port = 80  # type: ignore[misc]
    assert not hasattr(config, "__dict__")


def test_make_reads_spellings_of_the_command_line() -> None:
    config = Config.make("main:app", port="80", timeout_keep_alive="1m30s", ws_max_size="1MiB", access_log="off")
    assert (config.app, config.port, config.timeout_keep_alive) == ("main:app", 80, 90.0)
    assert (config.ws_max_size, config.access_log) == (1 << 20, False)


def test_make_takes_the_application_itself() -> None:
    assert Config.make(_app).app is _app


def test_make_takes_uvicorns_keywords() -> None:
    config = Config.make(
        "main:app",
        headers=[("X-Served-By", "swell"), (b"x-raw", b"1")],
        reload_dirs=["."],
        reload_includes="*.html,*.css",
        log_level=30,
        log_config={"version": 1},
        limit_concurrency=None,
        timeout_graceful_shutdown=None,
        forwarded_allow_ips=None,
        workers=None,
        http="auto",
        ssl_keyfile=None,
    )
    assert config.header == (("X-Served-By", "swell"), ("x-raw", "1"))
    assert config.reload_dir == (".",)
    assert config.reload_include == ("*.html", "*.css")
    assert config.log_level == "warning"
    assert config.log_config == {"version": 1}
    assert config.limit_concurrency is None
    assert config.timeout_graceful_shutdown is None
    assert config.forwarded_allow_ips == OPTIONS["forwarded_allow_ips"].default
    assert config.workers == WorkerRange(1, 1)


def test_none_means_the_default_where_off_makes_no_sense() -> None:
    assert Config.make("main:app", port=None, log_level=None).port == 8000


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Config(port=70000, backlog=0)
    assert [line.split()[0] for line in caught.value.problems] == ["port", "backlog"]
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, SwellError)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"prot": 80}, "unknown option prot: did you mean port?"),
        ({"timeout_keepalive": 5}, "did you mean timeout_keep_alive?"),
        ({"zzz": 1}, "unknown option zzz$"),
        ({"port": "http"}, "port must be a whole number"),
        ({"port": True}, "port must be a whole number"),
        ({"access_log": "maybe"}, "access_log must be on or off"),
        ({"lifespan": "yes"}, "lifespan must be one of auto, on, off"),
        ({"timeout_header": 0}, "must be longer than 0"),
        ({"limit_head_fields": 257}, "between 1 and 256"),
        ({"header": ["no colon"]}, "needs Name: value"),
        ({"header": ["X: a\r\nSet-Cookie: b"]}, "invalid field value"),
        ({"header": [("bad name", "x")]}, "invalid field name"),
        ({"header": [("x", "a\nb")]}, "invalid field value"),
        ({"header": "X: a\r\nY: b"}, "invalid field value"),
        ({"header": [("x", "\u20ac")]}, "invalid field value"),
        ({"request_id_header": "x:y"}, "must be the name of a header field"),
        ({"forwarded_allow_ips": "10.0.0.1/8"}, r"did you mean 10\.0\.0\.0/8\?"),
        ({"forwarded_allow_ips": "10.0.0.0/33"}, "has no network in"),
        ({"proxy_protocol_from": "example.org"}, "has no network in"),
        ({"log_level": 15}, "log_level must be one of"),
        ({"root_path": 5}, "root_path must be text"),
        ({"env_file": "a\0b"}, "NUL"),
        ({"bind": 8000}, "bind must be text or a list"),
        ({"http": "mine:Protocol"}, "--http mine:Protocol: protocol classes cannot be plugged in"),
        ({"ws": "none"}, "--ws none: WebSocket cannot be"),
        ({"ssl_context_factory": print}, "TLS is not Python's ssl module"),
        ({"h11_max_incomplete_event_size": 1}, "--limit-head-size"),
        ({"callback_notify": print}, "start a task in the application's lifespan"),
        ({"bind": ["127.0.0.1:1"], "uds": "/x"}, "--bind and --uds both name an address"),
        ({"uds": "/x", "fd": 3}, "--uds and --fd both name an address"),
        ({"bind": ["unix:/x", "unix:/x?mode=0660"]}, "names the same path twice"),
        ({"reload": True, "workers": 2}, "--reload runs one worker"),
        ({"workers": 0}, "workers must allow at least one worker"),
        ({"scale_policy": __file__}, "--scale-policy needs a range of workers"),
        ({"forecast": "on", "workers": 4}, "--forecast on needs a range of workers"),
        ({"name": "a/b"}, "--name a/b: use letters"),
        ({"limit_max_requests_jitter": 5}, "--limit-max-requests, which is off"),
        ({"limit_request_line": "64k", "limit_head_size": "32k"}, "is larger than --limit-head-size"),
        ({"request_id_response": True}, "--request-id is off"),
        ({"interface": "wsgi", "lifespan": "on"}, "WSGI applications do not have"),
        ({"env_file": "/no/such/file"}, "--env-file /no/such/file: there is no such file"),
        ({"log_config": "/no/such/file"}, "--log-config /no/such/file: there is no such file"),
        ({"app_dir": "/no/such/dir"}, "--app-dir /no/such/dir: there is no such directory"),
        ({"reload_dir": ["/no/such/dir"]}, "--reload-dir /no/such/dir: there is no such directory"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Config.make("main:app", **options)


def test_reload_needs_an_import_string() -> None:
    with pytest.raises(ConfigError, match="import string"):
        Config.make(_app, reload=True)


@pytest.mark.parametrize(
    ("written", "guess"),
    [
        ("main", "main:app"), ("main.py", "main:app"), ("app/main.py:api", "app.main:api"), ("main:", "main:app"),
        (":app", "main:app"), ("a b:app", "main:app"), ("pkg.main:create-app", "pkg.main:app"),
        ("/srv/app/main.py", "main:app --app-dir /srv/app"), ("../main.py:api", "main:api --app-dir .."),
        ("./main.py", "main:app"),
    ],
)  # fmt: skip
def test_a_wrong_import_string_is_told_with_a_likely_right_one(written: str, guess: str) -> None:
    with pytest.raises(ConfigError, match=f"must be MODULE:ATTRIBUTE.*try {guess}$"):
        Config.make(written)


@pytest.mark.parametrize("written", ["main:app", "pkg.sub.main:factory.build", "пакет:приложение"])
def test_import_strings_may_be_dotted_and_in_any_script(written: str) -> None:
    assert Config.make(written).app == written


def test_networks_are_kept_in_one_form() -> None:
    config = Config.make("main:app", forwarded_allow_ips="10.0.0.0/8, ::0001 ,unix,*", proxy_protocol_from=["10.0.0.7"])
    assert config.forwarded_allow_ips == ("10.0.0.0/8", "::1", "unix", "*")
    assert config.proxy_protocol_from == ("10.0.0.7",)


def test_zero_has_a_meaning_only_where_it_says_so() -> None:
    config = Config.make(
        "main:app", timeout_keep_alive=0, timeout_graceful_shutdown=0, limit_queue=0, limit_body_size=0
    )
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (0.0, 0.0)
    assert (config.limit_queue, config.limit_body_size) == (0, 0)


def test_replace_validates_again() -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(Config(), port=-1)


def test_importing_swell_imports_no_engine_and_config_imports_nothing_above_it() -> None:
    code = (
        "import sys, swell, swell.config.sources, swell.config.dotenv, swell.config.docs, swell.config.explain;"
        "print(*sorted(name for name in sys.modules if name.startswith('swell')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    modules = loaded.stdout.split()
    assert "swell.config.model" in modules
    assert {name.split(".")[1] for name in modules if "." in name} == {"config", "errors"}


def test_public_names() -> None:
    assert swell.Config is Config
    assert {"Config", "Server", "run", "__version__"} <= set(dir(swell))
    with pytest.raises(AttributeError, match="nothing"):
        importlib.import_module("swell").nothing  # noqa: B018


def test_version_is_the_projects() -> None:
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    assert f'\nversion = "{swell.__version__}"\n' in pyproject.read_text(encoding="utf-8")
