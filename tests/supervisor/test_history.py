"""The recorded history of load: what comes back, how large it grows, what damage does."""

from __future__ import annotations

import logging
import random
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swell.scaling import Hour
from swell.supervisor import history
from swell.supervisor.history import DAY_MINUTES, LoadHistory, Minute

START = 1_800_000_000.0  # a whole hour of Unix time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite3"


@pytest.fixture
def kept(path: Path) -> Iterator[LoadHistory]:
    found = LoadHistory(path)
    yield found
    found.close()


def decision(at: float, text: str = "1 → 2: loops 90 % busy", **inputs: Any) -> dict[str, Any]:
    return {"at": at, "before": 1, "after": 2, "rule": "stable", "guard": None, "text": text, "inputs": inputs}


def record_hours(kept: LoadHistory, *loads: float, start: float = START) -> None:
    for hour, load in enumerate(loads):
        for minute in range(60):
            kept.add(start + hour * 3600 + minute * 60, load, 1)
            kept.add(start + hour * 3600 + minute * 60 + 30, load, 1)


def first_hour(start: float = START) -> int:
    return int(start // 3600)


def test_loads_come_back_as_hours_also_in_the_next_life(path: Path, kept: LoadHistory) -> None:
    record_hours(kept, 1.0, 2.5)
    kept.close()
    again = LoadHistory(path)
    assert again.stored
    assert again.hours() == [Hour(first_hour(), 1.0), Hour(first_hour() + 1, 2.5)]
    again.close()


def test_a_minute_in_two_lives_is_one_minute(path: Path, kept: LoadHistory) -> None:
    for _ in range(3):
        kept.add(START, 1.0, 1)
    kept.close()
    again = LoadHistory(path)
    again.add(START + 30, 5.0, 3)
    again.close()
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT * FROM minutes").fetchall()
    connection.close()
    assert rows == [(int(START // 60), 2.0, 5.0, 1.5, 4)]


def test_decisions_come_back_in_their_order(kept: LoadHistory) -> None:
    for number in range(5):
        kept.record(decision(START + number, f"decision {number}", ready=number, host_cpu=None))
    found = kept.decisions(3)
    assert [entry["text"] for entry in found] == ["decision 2", "decision 3", "decision 4"]
    assert found[-1] == decision(START + 4, "decision 4", ready=4, host_cpu=None)
    assert kept.decisions(0) == []


def test_only_the_owner_may_read_it_and_there_is_one_file(path: Path, kept: LoadHistory) -> None:
    kept.record(decision(START))
    record_hours(kept, 1.0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept.close()
    assert [entry.name for entry in path.parent.iterdir() if entry.stat().st_size] == [path.name]


def test_old_minutes_and_decisions_go(path: Path, kept: LoadHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT_MINUTES", 120)
    monkeypatch.setattr(history, "KEPT_DECISIONS", 10)
    for number in range(30):
        kept.record(decision(START + number, f"{number}"))
    record_hours(kept, 1.0, 2.0, 3.0, 4.0)
    kept.flush()
    assert [entry["text"] for entry in kept.decisions(100)] == [f"{number}" for number in range(20, 30)]
    assert [hour.number - first_hour() for hour in kept.hours()] == [2, 3]
    kept.close()
    again = LoadHistory(path)
    assert [hour.number - first_hour() for hour in again.hours()] == [2, 3]
    again.close()


def test_the_file_never_grows_beyond_its_bound_and_keeps_the_newest(path: Path) -> None:
    small = LoadHistory(path, max_bytes=256 << 10)
    noise = random.Random(1)
    for number in range(600):
        small.record(decision(START + number, f"{number}", noise=noise.randbytes(500).hex()))
        small.add(START + number * 60, 1.0, 1)
        assert path.stat().st_size <= 256 << 10
    newest = small.decisions(1)[0]["text"]
    small.close()
    assert newest == "599"
    assert path.stat().st_size > 128 << 10


def test_five_weeks_fit_into_the_bound(path: Path) -> None:
    kept = LoadHistory(path)
    for minute in range(5 * 7 * 1440 + 500):
        kept.add(START + minute * 60, minute / 1000, 4)
        if minute % 100:  # one transaction for all of them is quicker
            kept._minute, done = None, kept._minute
            assert done is not None
            kept._pending.append(done)
    kept.close()
    size = path.stat().st_size
    assert 1 << 20 < size < history.MAX_BYTES // 2


@pytest.mark.parametrize("kind", ["text", "truncated", "overwritten", "foreign", "later", "no number"])
def test_a_damaged_file_is_moved_aside(path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    kept = LoadHistory(path)
    record_hours(kept, 1.0, 2.0, 3.0)
    kept.close()
    content = path.read_bytes()
    if kind == "text":
        content = b"this is no database, however long the text in it may be" * 100
    elif kind == "truncated":
        content = content[: len(content) // 2]
    elif kind == "overwritten":
        content = content[:4096] + b"\xa5" * (len(content) - 4096)
    statements = {
        "foreign": "PRAGMA application_id = 7",
        "later": "PRAGMA user_version = 99",
        "no number": "UPDATE minutes SET load = NULL WHERE minute % 7 = 0",
    }
    if kind in statements:
        with sqlite3.connect(path) as connection:
            connection.execute(statements[kind])
        connection.close()
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="swell"):
        again = LoadHistory(path)
    assert again.stored
    assert again.hours() == []
    record_hours(again, 4.0)
    again.close()
    aside = path.with_name(path.name + ".damaged")
    assert aside.read_bytes() == content
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"was moved to {aside} and begins anew" in caplog.text


def test_a_file_that_is_damaged_while_it_is_used_is_moved_aside(
    path: Path, kept: LoadHistory, caplog: pytest.LogCaptureFixture
) -> None:
    record_hours(kept, 1.0, 2.0)
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    with caplog.at_level(logging.WARNING, logger="swell"):
        record_hours(kept, 3.0, start=START + 7200)
        kept.record(decision(START))
    assert "begins anew" in caplog.text
    assert kept.stored
    assert kept.decisions(9) == [decision(START)]


@pytest.mark.parametrize("inputs", ["{", None, b"\xff"])
def test_a_decision_that_cannot_be_read_is_left_out(path: Path, kept: LoadHistory, inputs: object) -> None:
    for at in (1.0, 2.0, 3.0):
        kept.record(decision(at))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE decisions SET inputs = ? WHERE at = 2", (inputs,))
    connection.close()
    assert [found["at"] for found in kept.decisions(9)] == [1.0, 3.0]


def test_a_place_that_cannot_be_written_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="swell"):
        kept = LoadHistory(tmp_path / "nowhere" / "history.sqlite3")
        record_hours(kept, 1.0, 2.0)
        kept.record(decision(START))
        kept.flush()
    assert not kept.stored
    assert [hour.load for hour in kept.hours()] == [pytest.approx(1.0), pytest.approx(2.0)]
    assert kept.decisions(5) == []
    assert len(caplog.records) == 1
    assert "is kept in memory only" in caplog.text
    kept.close()


def test_while_another_writer_holds_the_file_minutes_wait(path: Path, kept: LoadHistory) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    kept.add(START, 1.0, 1)
    kept.flush()
    assert kept.stored
    assert other.execute("SELECT count(*) FROM minutes").fetchone() == (0,)
    other.execute("COMMIT")
    kept.add(START + 60, 2.0, 1)
    kept.flush()
    assert other.execute("SELECT load FROM minutes").fetchall() == [(1.0,), (2.0,)]
    other.close()


def test_nonsense_is_not_recorded(kept: LoadHistory) -> None:
    kept.add(float("nan"), 1.0, 1)
    kept.add(START, float("inf"), 1)
    kept.flush()
    assert kept.hours() == []


def test_the_last_day_comes_back_with_its_traffic(path: Path, kept: LoadHistory) -> None:
    for second in range(0, 120, 30):
        kept.add(START + second, 1.0, 2, requests=100.0 + second, target=3)
    kept.close()
    again = LoadHistory(path)
    first = int(START // 60)
    assert again.day() == [Minute(first, 1.0, 2.0, 115.0, 3.0), Minute(first + 1, 1.0, 2.0, 175.0, 3.0)]
    again.add(START + 60, 3.0, 2, requests=25.0, target=5)
    again.close()
    # The minute in which a parent took over is one in the file, and two in its memory.
    assert [minute.requests for minute in again.day()] == [115.0, 175.0, 25.0]
    third = LoadHistory(path)
    assert third.day()[-1] == Minute(first + 1, 5 / 3, 2.0, 125.0, 11 / 3)
    third.close()


def test_a_day_is_a_day_and_traffic_is_kept_for_two(path: Path, kept: LoadHistory) -> None:
    for minute in range(0, 4 * DAY_MINUTES, 60):
        kept.add(START + minute * 60, 1.0, 1, requests=1.0)
    kept.close()
    again = LoadHistory(path)
    assert len(again.day()) == 24
    again.close()
    with sqlite3.connect(path) as connection:
        (count,) = connection.execute("SELECT count(*) FROM traffic").fetchone()
        # As an earlier version has left it.
        connection.execute("DROP TABLE traffic")
    connection.close()
    assert count == 48
    old = LoadHistory(path)
    assert {minute.requests for minute in old.day()} == {None}
    old.add(START, 1.0, 1, requests=7.0)
    old.flush()
    assert old.day()[-1].requests == 7.0
    old.close()
