"""The page about commands names all of them, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swell import cli
from swell.cli import main
from swell.supervisor.control.app import ROUTES

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
REMOTE = {"status", "scale", "reload", "restart", "drain", "stop", "explain", "tasks", "dump", "top", "logs", "profile"}


def test_every_command_and_every_route_is_there() -> None:
    assert set(cli._COMMANDS) > REMOTE
    assert set(re.findall(r"^    swell (\w+)", PAGE, re.M)) == REMOTE
    routes = {(method, path) for method, path in re.findall(r"`(GET|POST) (/v1/\w+)", PAGE)}
    assert routes == {(route.method, f"/v1/{name}") for name, route in ROUTES.items()}


@pytest.mark.parametrize("command", sorted(REMOTE))
def test_flags_of_examples_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    for line in re.findall(rf"swell {command} ([^`#\n]*)", PAGE):
        for flag in re.findall(r"--[a-z-]+", line):
            assert f"  {flag}" in text, flag
