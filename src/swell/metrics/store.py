"""The file behind the application's metrics: a region per worker that grows at its end, and one for those that ended.

A region: two words (its length in bytes, its epoch), then entries. An entry: the length of its key, the number of its
cells, the key (JSON, padded), the cells (float64). Entries are never changed or removed while their worker lives, so
that a reader remembers where they are; when it has ended, the parent adds its counters to the last region, empties its
own and raises the epoch. Each region has one writer. Memory is taken in pieces as a region grows: a full file system is
an error of ours then, and a SIGBUS otherwise.

Made by the parent beside the scoreboard, opened by workers. Knows no kinds of metrics.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator, Sequence

__all__ = ["Cells", "Region", "Store", "path_beside"]

# What one worker may have; thousands of series. Only what is used takes memory.
REGION_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
_USED, _EPOCH, _FIRST = 0, 1, 2  # words

# Where values are: a view of float64, and the place of the first.
Cells = tuple["memoryview[float]", int]


def path_beside(board: str) -> str:
    """Where the metrics are, for a scoreboard's path."""
    directory, name = os.path.split(board)
    return os.path.join(directory, "metrics" + name.removeprefix("scoreboard"))


class Store:
    """The whole file. Regions count from 0; the last one is that of the ended."""

    def __init__(self, path: str) -> None:
        """Opens what `create` has made."""
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        size = os.fstat(self._file).st_size
        self.regions = size // REGION_BYTES
        self._map = mmap.mmap(self._file, size)
        # Not closed: values of the application refer to them for as long as the process lives.
        view = memoryview(self._map)
        self.words, self.floats = view.cast("Q"), view.cast("d")
        self._readers = [_Reader(self, region) for region in range(self.regions)]

    @classmethod
    def create(cls, path: str, slots: int) -> Store:
        """For so many workers."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, (slots + 1) * REGION_BYTES)
        finally:
            os.close(file)
        return cls(path)

    @property
    def ended(self) -> int:
        """The region of those that have ended."""
        return self.regions - 1

    def writer(self, region: int) -> Region:
        """For the region's one writer."""
        return Region(self, region)

    def read(self, region: int) -> dict[bytes, list[float]]:
        """All entries by key."""
        reader = self._readers[region]
        return {key: reader.values(key) for key in reader.keys()}  # noqa: SIM118 - it looks for new ones

    def total(self, key: bytes) -> list[float] | None:
        """The sum of an entry's cells over all regions, those of the ended included; None when there is none."""
        total: list[float] | None = None
        for reader in self._readers:
            if key in reader.keys():  # noqa: SIM118 - as above
                values = reader.values(key)
                total = values if total is None else [a + b for a, b in zip(total, values, strict=True)]
        return total

    def clear(self, region: int) -> None:
        """Empties the region of a worker that has ended."""
        start = region * REGION_BYTES // 8
        self.words[start + _EPOCH] += 1
        self.words[start + _USED] = 0

    def reserve(self, begin: int, length: int) -> None:
        """Takes memory. `OSError` when there is none."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file, begin, length)

    def remove(self) -> None:
        """Removes the file's name; whoever has mapped it keeps it. This end makes no more entries."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


class Region:
    """The writing end of one region."""

    def __init__(self, store: Store, region: int) -> None:
        self._store = store
        self._start = region * REGION_BYTES
        self._reserved = 0
        self._places = dict(_Reader(store, region).keys())

    def add(self, key: bytes, values: Sequence[float]) -> Cells:
        """The cells of an entry, made with these values unless it is there. `OSError` when there is no room."""
        floats = self._store.floats
        if (place := self._places.get(key)) is not None:
            return floats, place[0]
        words, start = self._store.words, self._start // 8
        used = words[start + _USED] or _FIRST * 8
        size = 16 + _padded(len(key)) + 8 * len(values)
        if used + size > REGION_BYTES:
            raise OSError(f"more than {REGION_BYTES >> 20} MiB of metrics in one worker")
        while self._reserved < used + size:
            self._store.reserve(self._start + self._reserved, _PIECE_BYTES)
            self._reserved += _PIECE_BYTES
        at = start + used // 8
        words[at], words[at + 1] = len(key), len(values)
        key_at = (at + 2) * 8
        self._store.words.cast("B")[key_at : key_at + len(key)] = key
        first = at + 2 + _padded(len(key)) // 8
        for offset, value in enumerate(values):
            floats[first + offset] = value
        # Last: what is within the length is complete.
        words[start + _USED] = used + size
        self._places[key] = first, len(values)
        return floats, first


class _Reader:
    """Remembers where the entries of a region are."""

    def __init__(self, store: Store, region: int) -> None:
        self._store = store
        self._start = region * REGION_BYTES // 8
        self._places: dict[bytes, tuple[int, int]] = {}
        self._epoch = self._seen = 0

    def keys(self) -> dict[bytes, tuple[int, int]]:
        words, start = self._store.words, self._start
        used, epoch = words[start + _USED], words[start + _EPOCH]
        if epoch != self._epoch or used < self._seen:
            self._epoch, self._seen = epoch, 0
            self._places = {}
        if used > self._seen:
            for key, place in self._entries(max(self._seen, _FIRST * 8), min(used, REGION_BYTES)):
                self._places[key] = place
            self._seen = used
        return self._places

    def values(self, key: bytes) -> list[float]:
        first, number = self._places[key]
        return list(self._store.floats[first : first + number])

    def _entries(self, begin: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
        words = self._store.words
        at, stop = self._start + begin // 8, self._start + end // 8
        while at + 2 <= stop:
            length, number = words[at], words[at + 1]
            first = at + 2 + _padded(length) // 8
            if first + number > stop:
                return  # damaged: what follows cannot be found
            key_at = (at + 2) * 8
            yield bytes(words.cast("B")[key_at : key_at + length]), (first, number)
            at = first + number


def _padded(length: int) -> int:
    return (length + 7) & ~7
