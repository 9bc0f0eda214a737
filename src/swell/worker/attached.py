"""A worker's ties to its parent: what it inherits, and what the two say to each other.

The worker says when it is ready, when it wants to be replaced and when it begins to end; the parent says which
listening sockets to accept from and when to end. A parent that has gone is an order to end. Made by the process that
becomes the worker (`template`, `child`), used by `Server`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swell._core import Engine, Scoreboard, TlsContext
from swell.metrics import prometheus
from swell.metrics.store import Store
from swell.metrics.values import attach
from swell.worker.channel import Channel, Message
from swell.worker.insight.slow import SlowTurns
from swell.worker.insight.taps import Tap
from swell.worker.pools import Pools
from swell.worker.probe import Probe
from swell.worker.sockets import Role
from swell.worker.tls import unpack

if TYPE_CHECKING:
    from swell.worker.server import Server

__all__ = ["Attachment", "Seat", "Wiring"]

log = logging.getLogger("swell")

# Has to fit into the socket's buffer, as nobody waits for room in it.
LAST_WORDS_AT_MOST = 24_000


@dataclass(frozen=True, slots=True)
class Wiring:
    """What all workers of an instance inherit, as descriptor numbers. The order of `listeners` is their name, and that
    of `roles`. The files of `board` and `metrics` may have no name any more: nobody asks us who tidies up."""

    board: int
    metrics: int
    listeners: Sequence[int]
    roles: Sequence[Role]
    inboxes: Sequence[int]
    outboxes: Sequence[int]

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All of them."""
        return (self.board, self.metrics, *self.listeners, *self.inboxes, *self.outboxes)


@dataclass(frozen=True, slots=True)
class Seat:
    """Which worker this is: its number, its generation of the code, and its slot in the wiring."""

    worker: int
    generation: int
    slot: int


class Attachment:
    """The worker's end of the channel, from the first line of its process to the last."""

    def __init__(self, channel: Channel, probe: Probe, wiring: Wiring, seat: Seat) -> None:
        """`probe` answers for this process, and is started here."""
        self.wiring = wiring
        self.seat = seat
        self.has_parent = True
        self._standby = True
        self._channel = channel
        self._probe = probe
        self._board = Scoreboard(f"/dev/fd/{wiring.board}")
        # Before the application is imported, or, where it was imported before the fork, before it runs.
        attach(Store(f"/dev/fd/{wiring.metrics}"), seat.slot)
        prometheus.hook()
        self.pools = Pools(functools.partial(self._board.note, seat.slot))
        self._server: Server | None = None
        self._engine: Engine | None = None
        self._tls: TlsContext | None = None
        self._slow = SlowTurns(
            f"worker {seat.worker} (pid {os.getpid()})", lambda: int(self._board.read(seat.slot)["heartbeat_ns"])
        )
        probe.slow = self._slow
        self._tap = Tap()
        probe.start()

    def engine_options(self) -> dict[str, Any]:
        """The engine's keyword arguments."""
        return {
            "board": self._board,
            "slot": self.seat.slot,
            "inbox": self.wiring.inboxes[self.seat.slot],
            "outboxes": self.wiring.outboxes,
            "slow_turns": self._slow.writing,
        }

    def attend(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        """Listens to the parent, on the running loop."""
        self._server = server
        self._probe.loop = loop
        self._channel.watch(loop, self._obey, self._orphaned)
        self._channel.send({"is": "phase", "phase": "lifespan startup"})
        self.pools.start(loop)

    def started(self, engine: Engine) -> None:
        """The application has started: nothing is accepted before the parent says from which sockets."""
        self._engine = engine
        self._probe.suspended = engine.suspended
        self._probe.current = lambda: self._board.read(self.seat.slot)["current"]
        if self._tls is not None:
            engine.set_tls(self._tls)
        for listener, role in zip(self.wiring.listeners, self.wiring.roles, strict=True):
            engine.listen(listener, accepting=False, tls=role.tls, redirect=role.redirect)
        self._tap.begin(engine)
        self._slow.since = time.monotonic_ns()
        self._channel.send({"is": "ready", "pid": os.getpid()})

    def retire(self, why: str) -> None:
        """Asks to be replaced; until then the worker serves on."""
        self._channel.send({"is": "retire", "why": why})

    def last_words(self, text: str) -> None:
        """What the parent is to add when it tells of the end of this process."""
        self._channel.send({"is": "last words", "text": text[-LAST_WORDS_AT_MOST:]})

    def leaving(self) -> None:
        """The worker is about to end its accepting: others hand nothing to it any more."""
        self._board.set_state(self.seat.slot, "draining")

    def ending(self, why: str) -> None:
        """The worker accepts no more."""
        self._channel.send({"is": "draining", "why": why})

    def _obey(self, order: Message) -> None:
        server = self._server
        # While the application shuts down, orders still come, and the engine is closed.
        engine = self._engine if server is not None and server.engine is not None else None
        if order["do"] == "tls":
            self._tls = TlsContext(unpack(self._channel.descriptors.popleft()))
            if engine is not None:
                engine.set_tls(self._tls)
            self._channel.send({"is": "tls", "edition": order["edition"]})
        if order["do"] == "tap":
            access, log_end = self._channel.descriptors.popleft(), self._channel.descriptors.popleft()
            self._tap.open(order, access, log_end, engine)
        if server is None:
            return
        match order["do"]:
            case "untap":
                self._tap.close(engine)
            case "accept":
                if engine is not None and not server.should_exit:
                    engine.accept_from(order["shards"])
                    if self._standby:
                        self._standby = False
                        self._board.set_state(self.seat.slot, "ready")
            case "drain":
                server.should_exit = True
            case "stop":
                server.force_exit = True

    def _orphaned(self) -> None:
        self.has_parent = False
        if self._server is not None and not self._server.should_exit:
            log.warning("the parent has gone: finishing the running requests, then ending")
            self._server.should_exit = True
