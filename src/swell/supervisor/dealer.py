"""Deals the listening sockets to the workers, and passes on what a dead one was handed and has not taken.

`shards` says who gets what; this tells the workers, in an order in which no socket is without one who accepts. Runs on
the parent's loop, which calls it whenever the set of those who may accept changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from swell.supervisor.shards import deal
from swell.supervisor.slots import Slots
from swell.supervisor.workers import State, Worker

__all__ = ["Dealer"]

# Somebody may have seen a worker ready right before it died, and hands a connection to it after that, in seconds.
LAST_HAND_OVER = 1.0


class Dealer:
    """One per parent."""

    def __init__(
        self,
        workers: Mapping[int, Worker],
        slots: Slots,
        groups: Sequence[Sequence[int]],
        freed: Callable[[], None] = lambda: None,
    ) -> None:
        """`workers` are the parent's, by their numbers; `groups` are the listening sockets of each address. `freed` is
        called when a slot is free for another worker, which is some time after its last one has ended."""
        self._workers = workers
        self._slots = slots
        self._groups = groups
        self._owners: dict[int, int] = {}
        self._freed = freed
        self._clearing = 0
        self._unread: list[int] = []  # slots of dead workers whose inboxes nobody could take over yet

    def deal(self, accepting: Sequence[Worker]) -> None:
        """Gives the sockets to these: first to those who get more, then from those who lose."""
        # One whose loop stands still gets nothing, unless that is all there is.
        ready = [w for w in accepting if not w.silent] or accepting
        self._owners = deal(self._groups, [w.id for w in ready], self._owners)
        shares: dict[int, list[int]] = {w.id: [] for w in accepting}
        for shard, owner in self._owners.items():
            shares[owner].append(shard)
        for worker in sorted(accepting, key=lambda w: len(shares[w.id]) <= len(w.shards or ())):
            worker.accept_from(shares[worker.id])
        self._pass_on([w.seat.slot for w in ready if not w.silent])

    @property
    def is_clearing(self) -> bool:
        """A slot is about to become free."""
        return self._clearing > 0

    def inherit(self, slot: int) -> None:
        """The worker in this slot is gone: what was handed to it is for others, and then the slot is free."""
        self._unread.append(slot)

    def _pass_on(self, living: Sequence[int]) -> None:
        if not living:
            return
        loop = asyncio.get_running_loop()
        while self._unread:
            slot = self._unread.pop()
            self._slots.forward(slot, living[0])
            self._clearing += 1
            loop.call_later(LAST_HAND_OVER, self._pass_on_the_last, slot)

    def _pass_on_the_last(self, slot: int) -> None:
        ready = [w for w in self._workers.values() if w.state is State.READY]
        if ready:
            self._slots.forward(slot, min(ready, key=lambda w: w.standby).seat.slot)
        self._slots.give_back(slot)
        self._clearing -= 1
        self._freed()
