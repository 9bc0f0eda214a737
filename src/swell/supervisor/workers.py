"""One worker as the parent sees it: its state, what it is told, and the deadlines that hold it to that.

The life of a worker: STARTING → READY → DRAINING → ENDED; from each of them straight to ENDED. Knows nothing of other
workers; the parent decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from socket import socket

from swell.supervisor.witness import Witness
from swell.worker.attached import Seat
from swell.worker.channel import Channel, Message

__all__ = ["State", "Worker", "ties"]


class State(enum.Enum):
    """Values are the scoreboard's words."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    ENDED = "empty"


@dataclass(eq=False)
class Worker:
    """`cause` says why it was started, later why it ends. `retiring` is the reason for which it is to be replaced,
    `condemned` the one for which this has to be by force. `phase` is how far its start is; `silent` is true while its
    event loop stands still. `evidence` belongs below the log entry of its end, and so do its `last_words`.
    `accepting` is true until it has said that it accepts no more. `shards` are the listening sockets that it was told
    to accept from, None until it was told for the first time. `tls` is the edition of certificates and the like that it
    has taken over last."""

    seat: Seat
    channel: Channel
    witness: Witness
    cause: str
    started: float
    phase: str
    pid: int | None = None
    state: State = State.STARTING
    ready_after: float | None = None
    retiring: str = ""
    condemned: str = ""
    killed: str = ""
    accepting: bool = True
    silent: bool = False
    evidence: str = ""
    last_words: str = ""
    shards: tuple[int, ...] | None = None
    tls: int = 0
    _deadline: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def id(self) -> int:
        return self.seat.worker

    @property
    def generation(self) -> int:
        return self.seat.generation

    @property
    def name(self) -> str:
        """As it is called in the log."""
        return f"worker {self.id}" if self.pid is None else f"worker {self.id} (pid {self.pid})"

    @property
    def standby(self) -> bool:
        """It does not serve yet, though it may be ready."""
        return self.shards is None

    def watch(self, loop: asyncio.AbstractEventLoop, heard: Callable[[Worker, Message], None]) -> None:
        """Calls `heard` for what it says. That it hangs up says nothing: its end is the reaper's to tell."""
        self.channel.watch(loop, lambda message: heard(self, message), lambda: None)
        self.witness.watch(loop)

    def accept_from(self, shards: Sequence[int]) -> None:
        """Has it accept from these listening sockets and no others. With the first of these orders, even an empty one,
        it takes what other workers hand to it."""
        wanted = tuple(sorted(shards))
        if wanted != self.shards:
            self.shards = wanted
            self.channel.send({"do": "accept", "shards": wanted})

    def drain(self) -> None:
        """Has it finish what it has begun, and end."""
        self.state = State.DRAINING
        self.channel.send({"do": "drain"})

    def hurry(self) -> None:
        """Has it end without waiting for anybody."""
        self.state = State.DRAINING
        self.channel.send({"do": "stop"})

    def kill(self, why: str) -> None:
        """Ends it by force."""
        self.killed = self.killed or why
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        if self.pid is not None and self.state is not State.ENDED:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def within(self, loop: asyncio.AbstractEventLoop, seconds: float | None, late: Callable[[Worker], None]) -> None:
        """Calls `late` unless it gets on in time. One deadline at a time; None lifts it."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else loop.call_later(seconds, late, self)

    def ended(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self.state = State.ENDED
        self.channel.close()
        self.witness.close()


def ties() -> tuple[Channel, socket, Witness, socket]:
    """Those of a new worker: our ends, each followed by the worker's. `OSError` when there is no room for them."""
    channel, end = Channel.pair()
    try:
        witness, probe_end = Witness.made()
    except OSError:
        channel.close()
        end.close()
        raise
    return channel, end, witness, probe_end
