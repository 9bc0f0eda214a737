"""The file of the application's metrics: one writer per region, readers that remember, room that ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from swell.metrics.store import REGION_BYTES, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "metrics"), 2)


def test_the_file_is_its_owners_and_takes_no_memory_yet(store: Store) -> None:
    status = os.stat(store.path)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert (status.st_size, status.st_blocks) == (3 * REGION_BYTES, 0)
    assert (store.regions, store.ended) == (3, 2)
    assert store.read(0) == {}
    with pytest.raises(FileExistsError):
        Store.create(store.path, 2)


def test_what_is_added_is_read_by_another(store: Store) -> None:
    other = Store(store.path)
    region = store.writer(1)
    view, at = region.add(b"a key", [1.0, 2.0])
    assert other.read(1) == {b"a key": [1.0, 2.0]}
    view[at] += 0.5
    # Another entry behind it, found without reading the first again; the same key is the same entry.
    region.add("ä".encode(), [7.0])
    assert region.add(b"a key", [9.0, 9.0]) == (view, at)
    assert other.read(1) == {b"a key": [1.5, 2.0], "ä".encode(): [7.0]}
    assert other.read(0) == {}
    assert Store(store.path).writer(1).add(b"a key", [0.0, 0.0])[1] == at


def test_totals_are_over_all_regions(store: Store) -> None:
    for region in range(3):
        store.writer(region).add(b"x", [float(region + 1)])
    store.writer(0).add(b"mine", [4.0])
    assert store.total(b"x") == [6.0]
    assert store.total(b"mine") == [4.0]
    assert store.total(b"nobody's") is None


def test_a_region_that_was_emptied_is_read_anew(store: Store) -> None:
    reader = Store(store.path)
    store.writer(0).add(b"old", [1.0])
    assert reader.read(0) == {b"old": [1.0]}
    store.clear(0)
    assert reader.read(0) == {}
    # The next worker has written as much as the last one: only the epoch tells them apart.
    store.clear(0)
    store.writer(0).add(b"new", [2.0])
    assert reader.read(0) == {b"new": [2.0]}


def test_a_full_region_says_so_and_stays_whole(store: Store) -> None:
    region = store.writer(0)
    for number in range(1000):
        region.add(b"%3d" % number + b"x" * 1000, [float(number)])
    with pytest.raises(OSError, match="more than 1 MiB of metrics"):
        region.add(b"x" * 30_000, [0.0])
    assert len(store.read(0)) == 1000
    assert store.read(1) == {}


def test_a_full_file_system_is_an_error_and_no_signal(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        store.writer(0).add(b"x", [1.0])
    assert store.read(0) == {}


def test_damage_is_read_as_far_as_it_makes_sense(store: Store) -> None:
    region = store.writer(0)
    region.add(b"fine", [1.0])
    _, at = region.add(b"damaged", [2.0])
    store.words[at - 3] = 1 << 60  # the length of its key
    assert Store(store.path).read(0) == {b"fine": [1.0]}
