"""The file of --env-file."""

from __future__ import annotations

from pathlib import Path

import pytest

from swell.config.dotenv import load_env_file, parse_env
from swell.errors import ConfigError


def test_every_form_of_line() -> None:
    text = (
        "\ufeff# comment\n\nA=1\nexport B = two words  # comment\nC='lit $A \\n # no'\n"
        'D="a\\nb\\t\\"q\\" \\\\ \\x" # c\nE=\nF=a#b\nG="line 1\nline 2"\r\n  H=x=y\nI=$A ${B}\n   \n'
        "J='' \nK=it's\nL=last"
    )
    assert parse_env(text) == {
        "A": "1", "B": "two words", "C": "lit $A \\n # no", "D": 'a\nb\t"q" \\ \\x', "E": "", "F": "a#b",
        "G": "line 1\nline 2", "H": "x=y", "I": "$A ${B}", "J": "", "K": "it's", "L": "last",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line"),
    [("A=1\nnonsense\n", 2), ("1A=x", 1), ("A='open\n\nB=1\n", 1), ("\n\n=x", 3), ('A="x" y', 1), ("A-B=1", 1)],
)
def test_a_line_that_is_none_is_named(text: str, line: int) -> None:
    with pytest.raises(ValueError, match=f"line {line} is not NAME=value"):
        parse_env(text)


def test_variables_that_are_set_win(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=file\nB=file\n")
    environ = {"A": "set"}
    load_env_file(str(path), environ)
    assert environ == {"A": "set", "B": "file"}


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--env-file .*missing.*No such file"):
        load_env_file(str(tmp_path / "missing"), {})
    (tmp_path / "bad").write_text("nonsense\n")
    with pytest.raises(ConfigError, match=r"--env-file .*bad: line 1 is not NAME=value"):
        load_env_file(str(tmp_path / "bad"), {})
