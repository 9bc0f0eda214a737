"""The command line: the spellings, uvicorn's own command lines, and what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from swell.config import OPTIONS, ConfigError
from swell.config.arguments import read_arguments
from swell.config.layers import Effective
from swell.config.sources import load
from swell.config.workers import WorkerRange


def _load(line: str) -> Effective:
    return load(read_arguments(shlex.split(line), {}).layer, environ={}, directory=Path("/nonexistent"))


# Command lines as they stand in container files, compose files, units and manuals, without the word `uvicorn`.
REAL_LIFE: list[tuple[str, dict[str, Any]]] = [
    ("main:app", {"app": "main:app", "port": 8000}),
    ("main:app --reload", {"reload": True}),
    ("app.main:app --host 0.0.0.0 --port 80", {"host": "0.0.0.0", "port": 80}),
    ("app.main:app --proxy-headers --host 0.0.0.0 --port 80", {"proxy_headers": True}),
    ("--host 0.0.0.0 --port 8000 app.main:app --workers 1", {"app": "app.main:app", "workers": WorkerRange(1, 1)}),
    ("--factory app:create_app --host=0.0.0.0 --port=5000", {"factory": True, "port": 5000}),
    ("main:app --uds /tmp/uvicorn.sock", {"uds": "/tmp/uvicorn.sock"}),
    ("main:app --fd 0", {"fd": 0}),
    ("main:app --proxy-headers --forwarded-allow-ips='*'", {"forwarded_allow_ips": ("*",)}),
    ("main:app --forwarded-allow-ips 10.0.0.0/8,127.0.0.1", {"forwarded_allow_ips": ("10.0.0.0/8", "127.0.0.1")}),
    ("main:app --forwarded-allow-ips ''", {"forwarded_allow_ips": ()}),
    ("main:app --loop uvloop --http httptools", {"loop": "uvloop"}),
    ("main:app --loop asyncio --http h11 --ws websockets", {"loop": "asyncio"}),
    ("main:app --http auto --ws auto --loop auto --lifespan on", {"lifespan": "on"}),
    ("main:app --log-level info --no-access-log", {"access_log": False}),
    ("main:app --log-level WARNING --no-use-colors", {"log_level": "warning", "use_colors": False}),
    ("main:app --reload --reload-dir . --reload-dir . --reload-exclude 'tests/*'", {"reload_dir": (".",)}),
    ("main:app --reload --reload-include '*.html' --reload-delay 0.5", {"reload_delay": 0.5}),
    ("main:app --root-path /api/v1", {"root_path": "/api/v1"}),
    ("main:app --root-path ''", {"root_path": ""}),
    ("main:app --no-server-header --no-date-header", {"server_header": False, "date_header": False}),
    (
        "main:app --header 'X-Frame-Options: DENY' --header X-A:b",
        {"header": (("X-Frame-Options", "DENY"), ("X-A", "b"))},
    ),
    ("main:app --timeout-keep-alive 5 --timeout-graceful-shutdown 10", {"timeout_keep_alive": 5.0}),
    ("main:app --limit-concurrency 100 --backlog 4096", {"limit_concurrency": 100, "backlog": 4096}),
    ("main:app --limit-max-requests 1000 --limit-max-requests-jitter 100", {"limit_max_requests_jitter": 100}),
    ("main:app --ws-ping-interval 30 --ws-ping-timeout 30.5", {"ws_ping_timeout": 30.5}),
    ("main:app --ws-max-size 33554432 --ws-max-queue 64", {"ws_max_size": 32 << 20, "ws_max_queue": 64}),
    ("main:app --ws-per-message-deflate false", {"ws_per_message_deflate": False}),
    ("main:app --interface asgi3 --app-dir .", {"interface": "asgi3", "app_dir": "."}),
    ("main:app --app-dir ''", {"app_dir": "."}),
    ("wsgi:application --interface wsgi", {"interface": "wsgi"}),
    ("main:app --reset-contextvars --timeout-worker-healthcheck 30", {}),
]


@pytest.mark.parametrize(("line", "expected"), REAL_LIFE, ids=[line for line, _ in REAL_LIFE])
def test_command_lines_of_uvicorn_work(line: str, expected: dict[str, Any]) -> None:
    config = _load(line).config
    assert {name: getattr(config, name) for name in expected} == expected


def test_every_option_of_uvicorn_is_known() -> None:
    uvicorn = [
        "host", "port", "uds", "fd", "reload", "reload-dir", "reload-include", "reload-exclude", "reload-delay",
        "workers", "loop", "http", "http2", "ws", "ws-max-size", "ws-max-queue", "ws-ping-interval",
        "ws-ping-timeout", "ws-per-message-deflate", "lifespan", "interface", "env-file", "log-config", "log-level",
        "access-log", "no-access-log", "use-colors", "no-use-colors", "proxy-headers", "no-proxy-headers",
        "server-header", "no-server-header", "date-header", "no-date-header", "forwarded-allow-ips", "root-path",
        "limit-concurrency", "backlog", "limit-max-requests", "limit-max-requests-jitter", "timeout-keep-alive",
        "timeout-graceful-shutdown", "timeout-worker-healthcheck", "ssl-keyfile", "ssl-certfile",
        "ssl-keyfile-password", "ssl-version", "ssl-cert-reqs", "ssl-ca-certs", "ssl-ciphers", "header", "app-dir",
        "h11-max-incomplete-event-size", "reset-contextvars", "factory",
    ]  # fmt: skip
    for name in uvicorn:
        problems = read_arguments([f"--{name}=x"], {}).layer.problems
        assert not any("unknown" in line for line in problems), name


def test_a_choice_without_effect_is_told() -> None:
    effective = _load("main:app --http h11 --ws wsproto --reset-contextvars")
    assert [note.partition(":")[0] for note in effective.notes] == ["--http", "--ws", "--reset-contextvars"]
    assert _load("main:app --http auto --ws auto").notes == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("main:app --prot 80", "unknown option --prot: did you mean --port?"),
        ("main:app --limit_concurrency 1", "did you mean --limit-concurrency?"),
        ("main:app --timeout-keepalive 5", "did you mean --timeout-keep-alive?"),
        ("main:app --no-acces-log", "did you mean --no-access-log?"),
        ("main:app --zzzzzz", "unknown option --zzzzzz"),
        ("main:app -w 4", "unknown option -w: did you mean --workers?"),
        ("main:app -b 0.0.0.0:80", "unknown option -b: did you mean --bind?"),
        ("main:app --relo", "unknown option --relo: did you mean --reload?"),
        ("main:app --port", "--port needs a value"),
        ("main:app --port --reload", "--port needs a value"),
        ("main:app --port http", "--port must be a whole number"),
        ("main:app --no-access-log=x", "--no-access-log takes no value"),
        ("main:app other:app", "unexpected argument other:app"),
        ("main:app --ssl-ciphers AES128-SHA", "--ssl-ciphers AES128-SHA: cipher suites are not picked one by one"),
        ("main:app --http mine:Http", "--http mine:Http: protocol classes"),
        ("main:app --ws none", "--ws none: WebSocket cannot be"),
        ("main:app --h11-max-incomplete-event-size 65536", "--limit-head-size"),
        ("main:app --workers 8..1", "--workers has a range whose end is below its start"),
        ("main:app --loop zuvloop", "--loop must be one of auto, asyncio, uvloop"),
    ],
)
def test_what_is_refused(line: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(line)
    assert reason in str(caught.value)
    assert len(caught.value.problems) == 1


def test_a_flag_like_no_other_gets_no_guess() -> None:
    assert read_arguments(["--bogus"], {}).layer.problems == ["unknown option --bogus"]


def test_every_option_has_a_flag_that_sets_it() -> None:
    for option in OPTIONS.values():
        if option.name == "app" or not option.show(option.default):
            continue
        words = [option.flag] if option.is_switch else [option.flag, option.show(option.default)]
        layer = read_arguments(words, {}).layer
        assert layer.problems == [], option.name
        assert layer.values == {option.name: True if option.is_switch else option.default}


def test_the_last_of_repeated_flags_wins_and_lists_grow() -> None:
    config = _load("main:app --port 1 --port 2 --access-log --no-access-log --reload-dir . --reload-dir /").config
    assert (config.port, config.access_log, config.reload_dir) == (2, False, (".", "/"))


def test_switches_take_a_value_behind_an_equals_sign() -> None:
    assert _load("main:app --access-log=off --eager-start=off").config.eager_start is False
    assert _load("main:app --no-ws-per-message-deflate").config.ws_per_message_deflate is False


def test_words_behind_two_dashes_are_no_flags() -> None:
    assert read_arguments(["--", "--port"], {}).words == ["--port"]


def test_flags_of_the_command_itself() -> None:
    arguments = read_arguments(["--format", "json", "--json", "main:app"], {"--format": True, "--json": False})
    assert arguments.extras == {"--format": "json", "--json": "on"}
    assert arguments.words == ["main:app"]
