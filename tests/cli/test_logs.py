"""The filters of `swell logs`: what is asked of the instance covers what is shown in the end."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from support.instance import running

from swell.cli import main
from swell.cli.logs import Filter


def access(status: int | None = 200, path: str = "/", duration_ms: float = 1.0) -> dict[str, Any]:
    return {"logger": "swell.access", "level": "info", "status": status, "path": path, "duration_ms": duration_ms}


def message(level: str) -> dict[str, Any]:
    return {"logger": "swell", "level": level, "message": "something"}


@pytest.mark.parametrize(
    ("chosen", "yes", "no"),
    [
        (Filter(), [access(), access(None), message("debug")], []),
        (Filter(statuses=("5xx", "404", "-")), [access(503), access(404), access(None)], [access(), message("info")]),
        (Filter(path="/api"), [access(path="/api/x"), access(path="/v/api")], [access(path="/ap"), message("error")]),
        (Filter(path="/a?i*"), [access(path="/api/x")], [access(path="/x/api")]),
        (Filter(slow=0.2), [access(duration_ms=200)], [access(duration_ms=199.9), message("critical")]),
        (Filter(level=logging.WARNING), [message("warning"), message("critical")], [message("info"), access(500)]),
        (Filter(statuses=("5xx",), level=logging.ERROR), [access(500), message("error")], [access(), message("info")]),
    ],
)  # fmt: skip
def test_what_is_taken(chosen: Filter, yes: list[dict[str, Any]], no: list[dict[str, Any]]) -> None:
    assert all(chosen.takes(1, values) for values in yes)
    assert not any(chosen.takes(1, values) for values in no)
    asked = parse_qs(chosen.query())
    statuses = int(asked.get("statuses", ["255"])[0])
    for values in yes:
        if values["logger"] == "swell.access":
            assert statuses >> ((values["status"] or 0) // 100) & 1
            assert values["duration_ms"] >= float(asked.get("slower_ms", ["0"])[0])
            assert asked.get("contains", [""])[0] in values["path"]
        else:
            assert asked["level"] != ["off"]
            assert getattr(logging, values["level"].upper()) >= int(asked["level"][0])


def test_of_one_worker_and_of_none() -> None:
    assert Filter(worker=3).takes(3, access())
    assert not Filter(worker=3).takes(0, message("error"))
    assert Filter(statuses=("404",)).takes(1, {"lines_lost": 7})


@pytest.mark.parametrize(
    "words", [["--status", "6xx"], ["--level", "loud"], ["--worker", "one"], ["--slow", "soon"], ["more"]]
)
def test_nonsense_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", *words]) == 2
    assert words[0] in capsys.readouterr().err


def test_a_worker_has_to_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or one would wait for its lines for ever."""
    with running(tmp_path):
        place = ["--runtime-dir", str(tmp_path)]
        assert main(["logs", "--worker", "2", *place]) == 0
        assert main(["logs", "--worker", "77", *place]) == 1
    assert "there is no worker 77: there are 1, 2" in capsys.readouterr().err
