"""Which worker accepts from which listening socket: a pure function.

Sockets come in groups, one per address. The kernel spreads new connections over the sockets of a group
(SO_REUSEPORT), so each worker gets its share of every group; a group of one socket, such as a Unix path, belongs to
one worker, and hand-over between workers does the rest. Called by the parent whenever the set of ready workers changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["deal"]


def deal(groups: Sequence[Sequence[int]], workers: Sequence[int], owners: Mapping[int, int]) -> dict[int, int]:
    """The worker of each shard. As even as can be in each group, and as few changes from `owners` as that allows.

    Empty when there are no workers: then connections wait in the sockets' queues.
    """
    if not workers:
        return {}
    dealt: dict[int, int] = {}
    total = dict.fromkeys(workers, 0)
    for group in groups:
        fair, more = divmod(len(group), len(workers))
        held = dict.fromkeys(workers, 0)
        left = []
        for shard in group:
            owner = owners.get(shard)
            if owner in held and held[owner] < fair:
                held[owner] += 1
                dealt[shard] = owner
            else:
                left.append(shard)
        # One more than the fair share for as many workers as there are shards over; those who had it keep it.
        rest = []
        for shard in left:
            owner = owners.get(shard)
            if owner in held and held[owner] == fair and more:
                more -= 1
                held[owner] += 1
                dealt[shard] = owner
            else:
                rest.append(shard)
        for shard in rest:
            owner = min(workers, key=lambda worker: (held[worker], total[worker] + held[worker]))
            held[owner] += 1
            dealt[shard] = owner
        for worker in workers:
            total[worker] += held[worker]
    return dealt
