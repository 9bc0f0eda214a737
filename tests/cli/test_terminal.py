"""What is printed of others' choice steers no terminal."""

from __future__ import annotations

import json

import pytest

from swell.cli.logs import Filter, _lines
from swell.cli.terminal import emit

STEERS = "\x1b]0;owned\x07\x1b[2J\x9b1A\u202e\r\x7f"
SHOWN = r"\u001b]0;owned\u0007\u001b[2J\u009b1A\u202e\u000d\u007f"


def test_controls_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    emit(f"a\tb\n{STEERS}ä")
    assert capsys.readouterr().out == f"a\tb\n{SHOWN}ä\n"


def test_colours_of_ours_stay(capsys: pytest.CaptureFixture[str]) -> None:
    emit("\x1b[31mred\x1b[0m", painted=True)
    assert capsys.readouterr().out == "\x1b[31mred\x1b[0m\n"


def test_documents_stay_documents(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"path": STEERS}
    emit(json.dumps(document, ensure_ascii=False))
    printed = capsys.readouterr().out
    assert printed.rstrip("\n").isprintable()
    assert json.loads(printed) == document


@pytest.mark.parametrize("color", [True, False])
def test_log_lines_steer_nothing(color: bool) -> None:
    """They come as JSON, in which all of it is escaped, and are read back."""
    access = {"logger": "swell.access", "method": "GET", "path": f"/{STEERS}\n.", "status": 400, "duration_ms": 1.0}
    message = {"logger": "shop", "level": "error", "message": f"{STEERS}\nsecond line", "time": "now"}
    batch = {"worker": 1, "lost": 0, "lines": [json.dumps(access), json.dumps(message)]}
    one, two = _lines(batch, Filter(), False, color)
    assert f"GET /{SHOWN}\\u000a." in one
    assert two == f"     1 | now ERROR shop: {SHOWN}\nsecond line"
