"""Who counts and who may go: what the parent concludes from its workers and the generation that is current.

Pure. A worker counts towards the target while it runs the current code and is not being replaced; a replaced one may go
when somebody serves in its place. Called by the parent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from swell.supervisor.generation import Generation, may_accept
from swell.supervisor.workers import State, Worker

__all__ = ["keepers", "surplus"]


def keepers(workers: Collection[Worker], generation: Generation) -> list[Worker]:
    """Those who count towards the target."""
    # One retires at a time: the others that want to serve on until it is their turn.
    first = min((w.id for w in workers if w.retiring and w.state is State.READY), default=None)

    def is_kept(worker: Worker) -> bool:
        if worker.generation != generation.number or worker.state not in (State.STARTING, State.READY):
            return False
        if worker.condemned:
            return False
        return not worker.retiring or (first is not None and worker.id != first)

    return [worker for worker in workers if is_kept(worker)]


def surplus(
    workers: Collection[Worker],
    generation: Generation,
    target: int,
    busyness: Callable[[Worker], Any],
    *,
    on_trial: bool,
) -> list[Worker]:
    """Those who can go now: replaced ones whose successors are ready, the least busy when there are too many.

    `on_trial` while new code is being tried. Who goes because there are too many has that as its `cause`.
    """
    kept = keepers(workers, generation)
    serving = [w for w in kept if w.state is State.READY] if generation.has_taken_over else []
    others = [w for w in workers if w not in kept]
    # Those of a generation that never took over are not needed by anybody.
    outgoing = [w for w in others if w.state is State.READY and may_accept(w, generation)]
    leaving = [w for w in others if w.state is State.STARTING or (w.state is State.READY and w not in outgoing)]
    if generation.confirmed or on_trial:
        spare = len(serving) + len(outgoing) - target
        leaving += sorted(outgoing, key=lambda w: (not w.condemned, w.generation, w.id))[: max(0, spare)]
    if generation.confirmed:
        for worker in sorted(kept, key=busyness)[: max(0, len(kept) - target)]:
            worker.cause = f"scaled down to {target}"
            leaving.append(worker)
    return leaving
