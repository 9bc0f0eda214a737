"""Generations of the code, and how far one has come in taking the place of the one before.

A reload starts the new generation's workers beside the old ones. They accept nothing until all of them are ready; then
the old ones stop, and only then the new ones begin: who has been answered by the new code is never answered by the old
again. For the moment in between, which is as long as the old workers take to read an order, connections wait in the
queues of the listening sockets. Pure; the parent acts.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from swell.supervisor.spawn import Template
from swell.supervisor.workers import State, Worker

__all__ = ["SWITCH_SECONDS", "Generation", "Stage", "has_stopped", "is_gathered", "may_accept"]

# A worker whose event loop is held up cannot say that it accepts no more. The new ones wait for it so long.
SWITCH_SECONDS = 1.0


class Stage(enum.IntEnum):
    """In this order; it may skip what is in between. From SWITCHING on there is no way back."""

    UNPROVEN = 0
    """No worker of it has been ready."""
    GATHERING = 1
    """Workers of it are ready and wait for the others."""
    SWITCHING = 2
    """The workers before were told to stop."""
    SERVING = 3
    """Its workers accept."""


@dataclass(eq=False)
class Generation:
    """One state of the code. `broken` when it does not start and better code is waited for; without a `template`,
    workers get fresh interpreters."""

    number: int
    template: Template | None
    stage: Stage = Stage.UNPROVEN
    broken: bool = False

    @property
    def confirmed(self) -> bool:
        """A worker of it has been ready."""
        return self.stage > Stage.UNPROVEN

    @property
    def has_taken_over(self) -> bool:
        return self.stage >= Stage.SWITCHING


def may_accept(worker: Worker, generation: Generation) -> bool:
    """Whether a ready worker may have listening sockets, while `generation` is the current one."""
    return not worker.standby or (worker.generation == generation.number and generation.stage is Stage.SERVING)


def is_gathered(generation: Generation, workers: Iterable[Worker], target: int) -> bool:
    """Whether it can take over: there are enough of its workers, or nobody serves but them."""
    ready = [worker for worker in workers if worker.state is State.READY]
    ours = sum(worker.generation == generation.number for worker in ready)
    others = any(worker.generation != generation.number and not worker.standby for worker in ready)
    return ours >= target or not others


def has_stopped(generation: Generation, workers: Iterable[Worker]) -> bool:
    """Whether no worker of another generation accepts any more, but for those that cannot say so."""
    return not any(
        worker.accepting and not worker.silent and not worker.standby
        for worker in workers
        if worker.generation != generation.number
    )
