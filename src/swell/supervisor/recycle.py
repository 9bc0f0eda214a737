"""When a healthy worker has lived long enough: after so many requests, so much time, or when it has grown too large.

`Lifetime` judges one worker and is pure; `Recycler` asks it once a second and has the parent replace workers, which it
does one after the other, each before it is removed. Used by the parent.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from swell.config import Config
from swell.supervisor.diagnosis import named_requests
from swell.supervisor.memory import resident, show_size
from swell.supervisor.workers import Worker

__all__ = ["Lifetime", "Recycler", "Verdict"]

log = logging.getLogger("swell")

# Workers that started together are not to end together: each has its own maximum age, by up to a tenth.
AGE_JITTER = 0.1
# How long to wait for a moment without requests: a tenth of the worker's life, at most so many seconds.
IDLE_PART, IDLE_SECONDS = 0.1, 30.0
# From so many times --limit-max-rss on, finishing what runs would make it worse.
FORCE_AT = 1.5
# A worker that is to be ended by force serves until its successor is ready, at most so many seconds.
FORCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """It is to be replaced; with `force`, without finishing what it does."""

    why: str
    force: bool = False


class Lifetime:
    """One worker's. Ages are seconds since its start, sizes bytes; None is without a limit."""

    def __init__(self, max_age: float | None, max_rss: int | None, jitter: float, rss_at_start: int | None) -> None:
        """`jitter` is between -1 and 1. `rss_at_start` is its size when it became ready, if that is known."""
        self._max_age = None if max_age is None else max_age * (1 + AGE_JITTER * jitter)
        self._max_rss = max_rss
        self.too_small = max_rss is not None and rss_at_start is not None and rss_at_start > max_rss
        self._asked: tuple[str, float] | None = None

    def ask(self, why: str, age: float) -> None:
        """The worker itself wants to be replaced."""
        self._asked = self._asked or (why, age)

    def judge(self, age: float, rss: int, in_flight: int) -> Verdict | None:
        """Whether it is time."""
        # A limit below what the application needs would have workers replaced for ever, each by one as large.
        if self._max_rss is not None and not self.too_small and rss > self._max_rss:
            sizes = f"resident memory {show_size(rss)} > "
            if rss > self._max_rss * FORCE_AT:
                why = f"{sizes}{FORCE_AT:g} × {show_size(self._max_rss)} (--limit-max-rss)"
                return Verdict(why, force=True)
            return Verdict(f"{sizes}{show_size(self._max_rss)} (--limit-max-rss)")
        if self._max_age is not None and age >= self._max_age:
            self.ask(f"it is {self._max_age:.0f} s old (--limit-max-age)", self._max_age)
        if self._asked is not None:
            why, since = self._asked
            if in_flight == 0 or age >= since + patience(since):
                return Verdict(why)
        return None


def patience(age: float) -> float:
    """For how many seconds a worker of this age may be kept for the sake of an idle moment."""
    return min(IDLE_PART * age, IDLE_SECONDS)


class Replacing(Protocol):
    """What the parent does."""

    def retire(self, worker: Worker, why: str) -> None: ...
    def condemn(self, worker: Worker, why: str, seconds: float | None) -> None: ...


class Recycler:
    """Looks after the lifetimes of all workers."""

    def __init__(self, config: Config, parent: Replacing) -> None:
        self._config = config
        self._parent = parent
        self._lifetimes: dict[int, Lifetime] = {}
        self._warned = False

    def is_ready(self, worker: Worker) -> None:
        """A worker has started to serve."""
        limit = self._config.limit_max_rss
        size = resident(worker.pid) if limit is not None and worker.pid is not None else None
        life = Lifetime(self._config.limit_max_age, limit, random.uniform(-1, 1), size)  # noqa: S311 - no secret
        self._lifetimes[worker.id] = life
        if life.too_small and limit is not None and size is not None and not self._warned:
            self._warned = True
            log.warning(
                "a worker has %s when it starts: --limit-max-rss %s is too small for the application and has no effect",
                show_size(size),
                show_size(limit),
            )

    def asked(self, worker: Worker, why: str, seen: Mapping[str, Any], now: float) -> None:
        """A worker wants to be replaced. `seen` is its slot of the scoreboard."""
        if (life := self._lifetimes.get(worker.id)) is not None:
            life.ask(why, now - worker.started)
            self.look(worker, seen, now)

    def look(self, worker: Worker, seen: Mapping[str, Any], now: float) -> None:
        """Once a second for every ready worker."""
        life = self._lifetimes.get(worker.id)
        if life is None or worker.condemned:
            return
        verdict = life.judge(now - worker.started, seen["rss_bytes"], seen["in_flight"])
        if verdict is None:
            return
        if not verdict.force:
            self._parent.retire(worker, verdict.why)
            return
        lost = named_requests(seen)
        log.error("%s is to be replaced by force: %s%s", worker.name, verdict.why, lost and f"; it serves {lost}")
        self._parent.condemn(worker, verdict.why, FORCE_SECONDS)

    def gone(self, worker: Worker) -> None:
        self._lifetimes.pop(worker.id, None)
