"""The policy: its table, its file, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from swell.errors import ConfigError
from swell.scaling import PARAMETERS, Policy, read_policy
from swell.scaling.docs import PAGE, main, with_table

DOCS = Path(__file__).parents[2] / "docs"


def problems(values: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        Policy.of(values, "scale.toml")
    return str(caught.value)


def test_without_a_file_the_defaults_hold() -> None:
    assert read_policy(None) == Policy()


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "scale.toml"
    file.write_text('utilisation = "50%"\ndown-window = "5m"\npanic_window = 4\nin-flight = 20\n')
    policy = read_policy(str(file))
    assert (policy.utilisation, policy.down_window, policy.panic_window, policy.in_flight) == (0.5, 300.0, 4.0, 20.0)
    assert policy.cpu == Policy().cpu


def test_off_is_a_value_where_there_is_one() -> None:
    assert Policy.of({"in-flight": "off"}).in_flight is None
    assert "cpu must be a number, not 'off'" in problems({"cpu": "off"})


def test_unknown_names_are_refused_with_the_nearest() -> None:
    assert problems({"utilization": 0.5}) == ("scale.toml: unknown parameter utilization: did you mean utilisation?")


def test_every_mistake_is_named() -> None:
    text = problems({"cpu": 7, "pool": True, "delay": "soon", "tolerance": float("nan"), "stable-window": "3d"})
    for line in (
        "cpu must lie between 5 % and 100 %, not 7",
        "pool must be a number, not True",
        "delay is not a duration: 'soon'",
        "tolerance must be a finite number, not nan",
        "stable-window must lie between 2s and 1h, not '3d'",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"panic-window": "2m"}, "panic-window 2m contradicts stable-window 60s"),
        ({"burst-window": "20s"}, "burst-window 20s contradicts panic-window 6s"),
        ({"interval": "1s"}, "interval 1s contradicts burst-window 1s: two samples must fit into it"),
        ({"idle-utilisation": 0.8}, "idle-utilisation 80 % contradicts utilisation 65 %"),
        ({"connection-budget": 10}, "connections-per-worker and connection-budget need each other"),
        (
            {"connection-budget": 10, "connections-per-worker": 20},
            "connections-per-worker 20 contradicts connection-budget 10",
        ),
    ],
)
def test_contradictions_are_refused(values: dict[str, object], text: str) -> None:
    assert text in problems(values)


def test_a_name_written_twice_is_refused() -> None:
    assert problems({"panic-window": 5, "panic_window": 6}) == "scale.toml sets panic-window twice"


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read: No such file"):
        read_policy(str(tmp_path / "nowhere.toml"))
    (tmp_path / "broken.toml").write_text("cpu = = 1")
    with pytest.raises(ConfigError, match=r"broken\.toml is not valid TOML"):
        read_policy(str(tmp_path / "broken.toml"))


def test_values_from_python_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="utilisation must lie between"):
        Policy(utilisation=3.0)


def test_every_parameter_says_why_and_after_whom() -> None:
    for parameter in PARAMETERS.values():
        assert parameter.row.help.endswith("."), parameter.name
        assert parameter.row.precedent.endswith("."), parameter.name
        if parameter.default is not None:
            assert parameter.read(parameter.default) == parameter.default


def test_the_page_is_up_to_date() -> None:
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    assert with_table(text) == text, "run: python -m swell.scaling.docs docs"
    for parameter in PARAMETERS.values():
        assert f"| `{parameter.key}` |" in text


def test_check_tells_a_stale_page_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / PAGE
    page.write_text("<!-- policy -->\n<!-- /policy -->")
    assert main(["--check", str(tmp_path)]) == 1
    assert "is out of date" in capsys.readouterr().out
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    with pytest.raises(ValueError, match="has no <!-- policy -->"):
        with_table("nothing")
