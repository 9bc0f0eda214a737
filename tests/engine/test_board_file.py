"""The scoreboard's file: how it is made, which files are refused, and that what one writes there another reads."""

import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from swell._core import Scoreboard

GAUGES = ["pool_size", "pool_busy", "pool_waiting", "gc_pauses", "gc_pause_ns"]


def test_a_fresh_file_is_its_owners_and_all_zero(tmp_path: Path) -> None:
    path = tmp_path / "board"
    before = os.umask(0o777)
    try:
        board = Scoreboard.create(path, 3)
    finally:
        os.umask(before)
    assert (board.path, board.slots, board.version) == (str(path), 3, 3)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for slot in range(3):
        said = board.read(slot)
        assert said.pop("state") == "empty"
        assert said.pop("current") is None
        assert said.pop("waiting") == []
        for histogram in ("latency", "dispatch_delay", "loop_lag"):
            assert said.pop(histogram) == [0] * 32
        assert set(said.values()) == {0}
        assert board.requests(slot) == []
    with pytest.raises(IndexError, match="3 slots, there is no slot 3"):
        board.read(3)


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "board"
    path.write_text("mine")
    with pytest.raises(FileExistsError) as raised:
        Scoreboard.create(path, 1)
    assert raised.value.filename == str(path)
    assert path.read_text() == "mine"
    with pytest.raises(FileNotFoundError):
        Scoreboard.create(tmp_path / "none" / "board", 1)
    for slots in (0, 4097):
        with pytest.raises(ValueError, match=rf"1 to 4096 slots, not {slots}"):
            Scoreboard.create(tmp_path / "other", slots)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda file: file[:100], "not a scoreboard, or truncated: it has 100 bytes"),
        (lambda file: b"", "not a scoreboard, or truncated: it has 0 bytes"),
        (lambda file: file[:-1], "a truncated scoreboard: 57343 bytes, where 1 slots take 57344"),
        (lambda file: file[:4096], "a truncated scoreboard"),
        (lambda file: b"#!/bin/s" + file[8:], "not a scoreboard: the file does not begin as one"),
        (
            lambda file: file[:8] + struct.pack("<Q", 99) + file[16:],
            "a scoreboard of version 99; this Swell reads",
        ),
        (lambda file: file[:16] + struct.pack("<Q", 1 << 60) + file[24:], "a damaged scoreboard"),
        (lambda file: file[:24] + struct.pack("<Q", 8) + file[32:], "a damaged scoreboard"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, spoil: Callable[[bytes], bytes], complaint: str) -> None:
    path = tmp_path / "board"
    Scoreboard.create(path, 1)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=complaint) as raised:
        Scoreboard(path)
    assert str(path) in str(raised.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Scoreboard(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        Scoreboard(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="no regular file"):
        Scoreboard(tmp_path / "fifo")


def test_what_one_writes_the_other_reads(tmp_path: Path) -> None:
    board = Scoreboard.create(tmp_path / "board", 4)
    other = Scoreboard(board.path)
    board.reset(1, 17, 3)
    board.set_state(1, "starting")
    board.note(1, **{name: at for at, name in enumerate(GAUGES, 5)})
    said = other.read(1)
    assert (said["worker"], said["generation"], said["state"]) == (17, 3, "starting")
    assert [said[name] for name in GAUGES] == [5, 6, 7, 8, 9]
    other.reset(1, 18, 4)
    said = board.read(1)
    assert (said["worker"], said["generation"], said["state"], said["pool_busy"]) == (18, 4, "empty", 0)
    assert board.read(0)["worker"] == 0
    with pytest.raises(ValueError, match='no state "asleep"; there are empty, starting'):
        board.set_state(1, "asleep")
    with pytest.raises(TypeError, match=r"note\(\) takes pool_size, .* not requests"):
        board.note(1, requests=1)
    with pytest.raises(OverflowError):
        board.note(1, pool_size=-1)
