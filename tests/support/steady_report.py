"""The account of a steady load: what was asked, what was answered by whom, and every single thing that was not.

Written by the load's thread only; other threads read it, whole once the load has stopped. Knows no sockets.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from support.link import Broken, How

__all__ = ["Answer", "Loss", "Report", "Request"]

SHOWN = 12  # losses that are spelt out in a text


@dataclass(frozen=True)
class Answer:
    at: float  # time.monotonic()
    took: float  # seconds, retries included
    kind: str
    worker: int
    generation: int


@dataclass(frozen=True)
class Loss:
    kind: str
    name: str  # the request's own id
    how: How
    detail: str
    began: float
    at: float  # time.monotonic()
    worker: int | None  # who had answered on this connection before
    unread: bool  # the server cannot have read it

    def __str__(self) -> str:
        whom = f"worker {self.worker}" if self.worker else "no worker known"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.kind} {self.name}: {self.how.value}{detail} after {self.at - self.began:.3f} s, {whom}"


@dataclass
class Request:
    """Something that has to be answered."""

    kind: str
    name: str
    began: float = field(default_factory=time.monotonic)


@dataclass
class Report:
    started: Counter[str] = field(default_factory=Counter)
    answers: list[Answer] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    connections: int = 0

    retried: list[Loss] = field(default_factory=list)
    """Safe requests that were written onto a kept connection just as the server closed it, and were asked again, once,
    on a new one. The server had not read them. Any server that closes idle connections can cause it, and every client
    has to expect it: RFC 9112 §9.3.1 and §9.5."""

    closed_idle: int = 0
    """Kept connections that were found closed before anything was written onto them: RFC 9112 §9.5."""

    announced: int = 0
    """Responses on kept connections that said `Connection: close`."""

    untidy: int = 0
    """Connections that were reset behind a complete last answer, where an orderly end was due."""

    sessions_closed: Counter[int] = field(default_factory=Counter)
    """WebSockets that the server closed with a close frame, by code."""

    resent: int = 0
    """Messages that crossed with a close frame of 1001 or 1012 and were sent again in the next session."""

    def begin(self, kind: str) -> Request:
        number = self.started.total()
        self.started[kind] += 1
        return Request(kind, f"{number:06d}")

    def answer(self, request: Request, worker: int, generation: int) -> None:
        now = time.monotonic()
        self.answers.append(Answer(now, now - request.began, request.kind, worker, generation))

    def loss(self, request: Request, broken: Broken, worker: int | None) -> Loss:
        now = time.monotonic()
        return Loss(request.kind, request.name, broken.how, broken.detail, request.began, now, worker, broken.unread)

    @property
    def answered(self) -> int:
        return len(self.answers)

    @property
    def unaccounted(self) -> int:
        """Requests that are neither answered nor lost: under way, or an error of the load itself once it stopped."""
        return self.started.total() - len(self.answers) - len(self.losses)

    @property
    def lost(self) -> list[Loss]:
        """Everything that was not answered."""
        return self.losses

    def workers(self) -> Counter[int]:
        """Answers by process id."""
        return Counter(answer.worker for answer in self.answers)

    def generations(self) -> Counter[int]:
        """Answers by generation of the code."""
        return Counter(answer.generation for answer in self.answers)

    def latency(self, share: float, kind: str | None = None, since: float = 0.0) -> float:
        """A quantile in seconds, of all answers or of one kind. 0 without any."""
        took = sorted(one.took for one in self.answers if one.at >= since and kind in (None, one.kind))
        return took[min(len(took) - 1, int(share * len(took)))] if took else 0.0

    def longest_silence(self) -> float:
        """The longest time, in seconds, without any answer."""
        times = [answer.at for answer in self.answers]
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)

    def check(self, *, lost: int = 0, fewest: int = 1) -> None:
        """Raises an `AssertionError` that says it all unless everything was answered, but for `lost`."""
        assert self.unaccounted == 0, f"the load lost count of {self.unaccounted} requests\n{self}"
        assert len(self.losses) <= lost, f"{len(self.losses)} requests were lost, {lost} may be\n{self}"
        assert self.untidy == 0 or lost, f"{self.untidy} connections were reset behind their last answer\n{self}"
        missing = [kind for kind in self.started if not any(answer.kind == kind for answer in self.answers)]
        assert not missing, f"not one answer to {', '.join(missing)}\n{self}"
        assert self.answered >= fewest, f"only {self.answered} answers, at least {fewest} were expected\n{self}"

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.started.items()))
        closed = ", ".join(f"{count} × {code}" for code, count in sorted(self.sessions_closed.items())) or "none"
        lines = [
            f"started {self.started.total()} ({kinds}), answered {self.answered}, lost {len(self.losses)}",
            f"by workers {dict(self.workers())}, generations {dict(self.generations())}",
            f"{self.connections} connections; closed when idle {self.closed_idle}, announced {self.announced}, "
            f"retried {len(self.retried)}, reset behind the last answer {self.untidy}",
            f"WebSockets closed by the server: {closed}; messages sent again {self.resent}",
            f"latency p50 {self.latency(0.5) * 1e3:.1f} ms, p99 {self.latency(0.99) * 1e3:.1f} ms, "
            f"most {self.latency(1.0) * 1e3:.1f} ms; longest silence {self.longest_silence() * 1e3:.0f} ms",
        ]
        for title, some in (("lost", self.losses), ("retried", self.retried)):
            lines += [f"  {title}: {one}" for one in some[:SHOWN]]
            if len(some) > SHOWN:
                lines.append(f"  … and {len(some) - SHOWN} more {title}")
        return "\n".join(lines)
