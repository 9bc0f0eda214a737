"""`--log-config`: the user's own set-up, also one that was written for uvicorn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.raw import connected

from swell import Config
from swell.errors import StartupError
from swell.telemetry import set_up
from telemetry.support import ask, logged


def configuration(server: str, access: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "plain": {"format": "mine %(levelname)s %(message)s"},
            "access": {"()": "formats.Access"},
        },
        "handlers": {
            "plain": {"class": "logging.StreamHandler", "formatter": "plain"},
            "access": {"class": "logging.StreamHandler", "formatter": "access", "stream": "ext://sys.stdout"},
        },
        "loggers": {
            server: {"handlers": ["plain"], "level": "INFO", "propagate": False},
            access: {"handlers": ["access"], "level": "INFO", "propagate": False},
        },
    }


@pytest.mark.parametrize(
    ("server", "access"),
    [("swell", "swell.access"), ("uvicorn.error", "uvicorn.access"), ("uvicorn", "uvicorn.access")],
)
def test_the_users_loggers_get_everything(
    server: str, access: str, loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "logging.json"
    file.write_text(json.dumps(configuration(server, access)))
    log = tmp_path / "access.log"
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "served"))
    options = ("--log-config", str(file), "--request-id", "take")
    with logged(log, *options, loop=loop) as running:
        running.expect_error("ValueError")
        with connected(running.address) as connection:
            client = "{}:{}".format(*connection.socket.getsockname())
            ask(connection, "/a?b", b"x-request-id: r-1")
            ask(connection, "/raise", b"x-request-id: r-2")
        with connected(running.address) as connection:
            connection.send(b"GET /no-host HTTP/1.1\r\n\r\n")
            connection.response()
        running.wait_for_log("^mine INFO listening on")
        running.wait_for_log("^mine ERROR .* GET /raise id=r-2: exception in the ASGI application")
        running.wait_for_log("^mine WARNING .* 400, ")
    first, second, third = log.read_text().splitlines()
    assert first == (
        f"swell.access INFO|{client}|GET|/a?b|1.1|200|"
        "{'bytes_out': 13, 'request_id': 'r-1', 'refused': None, 'rfc': None}"
    )
    assert "|/raise|1.1|500|" in second
    assert "|/no-host|1.1|400|" in third
    assert "'rfc': 'RFC 9112 §3.2'" in third


def test_an_ini_file(tmp_path: Path) -> None:
    file = tmp_path / "logging.ini"
    file.write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=all\n[formatters]\nkeys=plain\n"
        "[logger_root]\nlevel=INFO\nhandlers=all\n"
        "[handler_all]\nclass=StreamHandler\nargs=(sys.stderr,)\nformatter=plain\n"
        "[formatter_plain]\nformat=ini %(name)s %(message)s\n"
    )
    with logged(tmp_path / "access.log", "--log-config", str(file)) as server, connected(server.address) as connection:
        ask(connection, "/")
        server.wait_for_log("^ini swell listening on")
        server.wait_for_log(r'^ini swell\.access 127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200$')
    assert (tmp_path / "access.log").read_bytes() == b""


def test_a_yaml_file(tmp_path: Path) -> None:
    file = tmp_path / "logging.yaml"
    file.write_text(
        "version: 1\n"
        "formatters: {plain: {format: 'yaml %(message)s'}}\n"
        "handlers: {all: {class: logging.StreamHandler, formatter: plain}}\n"
        "root: {level: INFO, handlers: [all]}\n"
    )
    with logged(tmp_path / "access.log", "--log-config", str(file)) as server:
        server.wait_for_log("^yaml listening on")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"version": 2}, "version"),
        ({"version": 1, "handlers": {"a": {"class": "no.such.Handler"}}}, "no.such"),
        ({}, "version"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_one_plain_error(source: dict[str, object], problem: str) -> None:
    with pytest.raises(StartupError, match="--log-config") as caught:
        set_up(Config.make("a:app", log_config=source))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_configuration_is_one_plain_error(tmp_path: Path) -> None:
    for name in ("broken.json", "broken.yaml", "broken.ini"):
        file = tmp_path / name
        file.write_text("[")
        with pytest.raises(StartupError, match=name):
            set_up(Config.make("a:app", log_config=str(file)))
