"""TLS for all workers: the parent reads the files and makes the keys of session tickets, and gives both to each worker.

So every worker has the same certificates at the same time, a session that began at one goes on at another, and a worker
that starts while a file is broken gets what the others have. Used by `main` and `parent`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from swell.config import Config
from swell.supervisor.workers import State
from swell.worker.channel import Channel
from swell.worker.tls import Challenge, Keeper, Material, pack

if TYPE_CHECKING:
    from swell.supervisor.parent import Parent

__all__ = ["TlsForWorkers"]

# A worker says that it has taken something over with the next turn of its loop, unless the application holds it up.
TAKEN_SECONDS = 10.0


class TlsForWorkers:
    """The material in a form that workers can be given. Use as a context manager."""

    def __init__(self, config: Config, ticket_keys: tuple[bytes, ...]) -> None:
        """Raises `StartupError`. `ticket_keys` are those of the parent that this one takes over from."""
        self._keeper = Keeper(config, ticket_keys)
        self._packed = pack(self._keeper.material)
        self._edition = 1

    @property
    def ticket_keys(self) -> tuple[bytes, ...]:
        """The one in use, then older ones."""
        return self._keeper.material.ticket_keys

    def give(self, channels: Iterable[Channel]) -> None:
        """Has these workers use it from now on."""
        for channel in channels:
            channel.send({"do": "tls", "edition": self._edition}, [self._packed])

    async def watch(self, parent: Parent) -> None:
        """Gives every worker what changes, until it is cancelled."""

        def changed(material: Material) -> None:
            before, self._packed = self._packed, pack(material)
            self._edition += 1
            os.close(before)
            self.give(worker.channel for worker in parent.workers.values())

        self._keeper.changed = changed
        await self._keeper.watch()

    async def renew(self, parent: Parent) -> None:
        """Has all workers take over what has changed, without waiting for the next look of `watch`. While that runs."""
        self._keeper.look()
        await self._taken(parent)

    async def answer(
        self, parent: Parent, challenges: tuple[Challenge, ...] = (), answers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Has all workers tell this to authorities, and waits until they do. While `watch` runs."""
        self._keeper.answer(challenges, answers)
        await self._taken(parent)

    async def _taken(self, parent: Parent) -> None:
        wanted = self._edition
        # Who is not ready yet reads it before it is told to accept. Who stands still is not waited for for ever.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAKEN_SECONDS):
                while any(one.state is State.READY and one.tls < wanted for one in parent.workers.values()):
                    await parent.wait_changed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._packed)
