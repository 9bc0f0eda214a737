"""The tables in docs/ say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from swell.config import OPTIONS
from swell.config.docs import main, pages
from swell.config.foreign import FOREIGN

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["options.md", "limits.md"])
def test_pages_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], "run: python -m swell.config.docs docs"


def test_every_option_stands_in_the_table() -> None:
    text = pages()["options.md"]
    for option in OPTIONS.values():
        assert f"| `{'APP' if option.name == 'app' else option.flag}` |" in text
    for foreign in FOREIGN.values():
        assert f"| `{foreign.flag}` |" in text


def test_every_limit_stands_in_its_table() -> None:
    text = pages()["limits.md"]
    no_limits = {"ws_per_message_deflate"}
    limits = [option for option in OPTIONS.values() if option.section in ("Limits", "Time-outs", "WebSocket")]
    for option in limits:
        assert (f"| `{option.flag}` |" in text) is (option.name not in no_limits), option.name


def test_check_tells_stale_pages_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == []
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    assert "is out of date" in capsys.readouterr().out
