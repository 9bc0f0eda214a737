"""What probes want to know, as judgements of a `Snapshot`. Pure.

Live: a restart would not help. The parent answers, so its own loop is; workers it replaces by itself, so one that is
stuck is no reason to end the others. Only when no event loop of any worker comes round, for longer than the parent
gives them, is something wrong that the parent does not put right.

Ready: a connection would be served. Started: the application has been, once.
"""

from __future__ import annotations

from typing import Any

from swell.telemetry.metrics import Snapshot

__all__ = ["SILENCE_SECONDS", "live", "ready", "started"]

# Between the end of the parent's patience with a worker and the end of ours with the parent.
SILENCE_SECONDS = 30.0
_SERVES = frozenset({"running", "reloading"})

Judgement = tuple[bool, dict[str, Any]]


def live(snapshot: Snapshot, patience: float | None) -> Judgement:
    """`patience` is for how long the parent lets a worker's loop stand still, in seconds; None is for ever."""
    loops = [worker for worker in snapshot.workers if worker.state != "starting"]
    allowed = None if patience is None else patience + SILENCE_SECONDS
    stuck = allowed is not None and loops and all(worker.silence > allowed for worker in loops)
    is_live = not (stuck and snapshot.state in _SERVES and len(loops) == len(snapshot.workers))
    return is_live, {
        "live": is_live,
        "state": snapshot.state,
        "workers": [{"slot": w.number, "state": w.state, "silence": round(w.silence, 3)} for w in snapshot.workers],
    }


def ready(snapshot: Snapshot) -> Judgement:
    """A sleeping instance wakes up for the first connection."""
    serving = sum(worker.state == "ready" for worker in snapshot.workers)
    is_ready = snapshot.state == "sleeping" or (snapshot.state in _SERVES and serving > 0)
    return is_ready, {"ready": is_ready, "state": snapshot.state, "workers": serving}


def started(snapshot: Snapshot) -> Judgement:
    """The application has started once."""
    is_started = snapshot.state != "starting"
    return is_started, {"started": is_started, "state": snapshot.state}
