"""The places that workers take: a slot of the scoreboard each, a region for the application's metrics, and an inbox
for connections handed over by others.

All are made before the first worker, because every worker has to be able to reach every other. The parent keeps both
ends of each inbox: what a dead worker has not taken is passed on. Used by the parent.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from swell._core import Scoreboard, forward_inbox
from swell.errors import StartupError
from swell.metrics.store import Store, path_beside

__all__ = ["Slots", "room_in", "slots_for"]


# Room for `swell scale` beyond the configured range, in workers: it is a page and two descriptors each.
ROOM_AT_LEAST = 8


def slots_for(maximum: int, cores: int) -> int:
    """During a replacement old and new workers live side by side, and one may be late to end."""
    return 2 * max(maximum, 2 * cores, ROOM_AT_LEAST) + 2


def room_in(slots: int) -> int:
    """How many workers so many slots are for."""
    return (slots - 2) // 2


class Slots:
    """The scoreboard, the inboxes, and which of them are taken."""

    def __init__(self, board: Path, count: int) -> None:
        try:
            self.board = Scoreboard.create(str(board), count)
            self.metrics = Store.create(path_beside(str(board)), count)
            self._files = [os.open(path, os.O_RDWR | os.O_CLOEXEC) for path in (self.board.path, self.metrics.path)]
            pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(count)]
        except OSError as error:
            raise StartupError(f"cannot make the scoreboard {board}: {error.strerror or error}") from None
        self._readers, self._writers = [reader for reader, _ in pairs], [writer for _, writer in pairs]
        for end in (*self._readers, *self._writers):
            end.setblocking(False)
        self._taken: set[int] = set()

    @property
    def files(self) -> tuple[int, int]:
        """Descriptors of the scoreboard's file and of that of the metrics."""
        board, metrics = self._files
        return board, metrics

    @property
    def inboxes(self) -> list[int]:
        """Descriptors to read from, by slot."""
        return [reader.fileno() for reader in self._readers]

    @property
    def outboxes(self) -> list[int]:
        """Descriptors to write to, by slot."""
        return [writer.fileno() for writer in self._writers]

    def take(self, worker: int, generation: int) -> int | None:
        """A free slot for a worker, or None when all are taken."""
        free = next((slot for slot in range(self.board.slots) if slot not in self._taken), None)
        if free is not None:
            self._taken.add(free)
            self.board.reset(free, worker, generation)
            self.board.set_state(free, "starting")
        return free

    def give_back(self, slot: int) -> None:
        """The worker has ended."""
        self.board.set_state(slot, "empty")
        self._taken.discard(slot)

    def forward(self, slot: int, to: int) -> int:
        """Passes the connections that a dead worker has not taken on to a living one. Returns how many."""
        return forward_inbox(self._readers[slot].fileno(), self._writers[to].fileno())

    def close(self) -> None:
        for end in (*self._readers, *self._writers):
            end.close()
        self._readers, self._writers = [], []
        while self._files:
            os.close(self._files.pop())
        with contextlib.suppress(OSError):
            os.unlink(self.board.path)
        self.metrics.remove()
