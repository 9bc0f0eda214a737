"""What the control socket offers: the parent as its application sees it, and the documents that pass.

The parent implements `Instance`; `app` translates HTTP to it; `client` and the commands read the documents. The
documents are JSON-ready as they are. Readers ignore keys that they do not know, so that keys can be added; a change
that is none of an addition gets a new prefix beside `/v1`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, Protocol, TypedDict

from swell.errors import SwellError

__all__ = [
    "CommandFailed", "Decision", "Explanation", "Insight", "Instance", "InstanceStatus", "Status", "Wanted",
    "WorkerStatus",
]  # fmt: skip

InstanceState = Literal["starting", "running", "reloading", "draining", "stopping", "sleeping"]
WorkerState = Literal["empty", "starting", "ready", "draining", "stopping", "stuck"]


class CommandFailed(SwellError):  # noqa: N818 - it says what happened
    """The instance cannot do that now, or has tried and failed; it runs on as before. The text says what to do."""


class InstanceStatus(TypedDict):
    """`started` is Unix time in seconds; `min`, `max` and `target` count workers."""

    name: str
    pid: int
    version: str
    started: float
    app: str
    addresses: list[str]
    min: int
    max: int
    target: int
    generation: int
    spawn: str
    state: InstanceState


class Request(TypedDict):
    """`since_ns` is CLOCK_MONOTONIC of the machine."""

    line: str
    since_ns: int


class WorkerStatus(TypedDict):
    """A slot of the scoreboard and what the parent knows besides: `id` counts the workers of the instance's life,
    `age` is in seconds, `cause` says why the worker was started, or why it ends.

    A slot has more keys than these, see `swell._core.Scoreboard`.
    """

    id: int
    pid: int
    generation: int
    state: WorkerState
    age: float
    cause: str
    requests: int
    in_flight: int
    connections: int
    busy_samples: int
    samples: int
    latency: list[int]
    rss_bytes: int
    current: NotRequired[Request | None]
    waiting: NotRequired[list[Request]]


class CertificateStatus(TypedDict):
    """One of --acme-domain. Unix times; None is what is not yet, or never was. `trouble` is what kept the last order
    from being one."""

    name: str
    authority: str
    not_after: float | None
    renew_at: float | None
    retry_at: float | None
    trouble: str | None


class Status(TypedDict):
    """What `GET /v1/status` answers: workers in the order of their ids, the empty slots left out."""

    instance: InstanceStatus
    workers: list[WorkerStatus]
    certificates: NotRequired[list[CertificateStatus]]


class Decision(TypedDict):
    """One change of the number of workers, or one that a guard kept from happening. `at` is Unix time in seconds."""

    at: float
    before: int
    after: int
    rule: str
    guard: str | None
    inputs: dict[str, Any]
    text: str


class Explanation(TypedDict):
    """`now` says why the number is what it is; `decisions` are the latest ones, the oldest first."""

    now: str
    decisions: list[Decision]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`statuses` is a bit per class of status (bit 0: no response), 0 for no access lines; `slower` is in seconds;
    `contains` is part of a line; `level` is the least of the server's log, None for nothing of that."""

    statuses: int = 255
    slower: float = 0.0
    contains: str = ""
    level: int | None = logging.NOTSET

    def __or__(self, other: Wanted) -> Wanted:
        """What is wanted by one of them."""
        if not self.statuses or not other.statuses:
            one = self if self.statuses else other
            slower, contains = one.slower, one.contains
        else:
            slower = min(self.slower, other.slower)
            contains = self.contains if self.contains == other.contains else ""
        levels = [level for level in (self.level, other.level) if level is not None]
        return Wanted(self.statuses | other.statuses, slower, contains, min(levels, default=None))


class Insight(Protocol):
    """What the workers of an instance tell about themselves. `worker` is an id; None is the only one there is.

    Raises `CommandFailed` when there is no such worker, when it does not answer, or ends before it has.
    """

    async def dump(self, worker: int | None) -> dict[str, Any]:
        """All stacks of a worker, also of one that hangs."""

    async def tasks(self, worker: int | None) -> dict[str, Any]:
        """All asyncio tasks of a worker."""

    async def profile(self, worker: int | None, seconds: float, hz: int, memory: bool) -> dict[str, Any]:
        """Where its time goes in so many seconds, or its memory: a document of `swell.telemetry.profile`."""

    async def profile_page(self, worker: int | None, seconds: float, hz: int, memory: bool) -> dict[str, Any]:
        """The same as a page, which `flame` gives out for a while: `profile` is its number, `hottest` the functions."""

    def flame(self, profile: int) -> str | None:
        """A page of HTML, None when it is not there any more."""

    def logs(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """Log lines of all workers and of the parent from now on, as JSON lines: see `swell.supervisor.logs`."""


class Instance(Protocol):
    """The parent. Everything is called on its own loop, and several commands may run at once.

    Each command answers `{"text": ...}`, a sentence for people, and what else it likes. One that is at odds with the
    state of things, such as a reload while the instance ends, raises `CommandFailed`.
    """

    @property
    def insight(self) -> Insight:
        """What its workers tell about themselves."""

    def status(self) -> dict[str, Any]:
        """A `Status`."""

    def explain(self, last: int) -> dict[str, Any]:
        """An `Explanation` with at most `last` decisions."""

    def forecast(self) -> dict[str, Any]:
        """The load of the last day, what was foretold of it, and the hours ahead; `text` says what there is to say.
        With `recorded`: `actual` and `forecast`, both lists of spans that begin `at` Unix seconds."""

    async def scale(self, minimum: int | None, maximum: int | None, count: int | None) -> dict[str, Any]:
        """Sets the range (`minimum` and `maximum`), or the number within it (`count`, which widens the range where it
        lies outside). Answers when the new numbers are set, without waiting for workers to start or to end.
        """

    async def reload(self) -> dict[str, Any]:
        """Replaces all workers by new ones with the code as it is now. Answers when the new ones are ready; raises
        `CommandFailed` when they could not start, and the old ones serve on.
        """

    async def restart(self, worker: int) -> dict[str, Any]:
        """Replaces one worker, by its id. Answers when its successor is ready."""

    async def drain(self) -> dict[str, Any]:
        """Ends the instance after the grace that it was configured with. Answers when this has begun."""

    async def stop(self, now: bool) -> dict[str, Any]:
        """Ends the instance: gracefully, or without waiting for anybody. Answers when this has begun."""
