"""What is the matter with a worker whose heartbeat has stopped. Pure: no processes, no clock.

The heartbeat is stamped by the event loop's own thread and by nothing else, so a worker that is merely busy has a fresh
one and never gets here. Called by the watchdog.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["SILENT_AFTER", "Evidence", "Kind", "Stage", "diagnose", "named_requests", "stage"]

# An idle loop beats once a second; what is half a second late beyond that is not serving anybody. In seconds.
SILENT_AFTER = 1.5
# A thread that used so much of a core while it was silent computes. On a crowded machine it may have got less: then it
# is seen running, or waiting for its turn, which is the same state.
COMPUTES = 0.4
NAMED_AT_MOST = 5


class Stage(enum.IntEnum):
    """How long the silence is."""

    BEATING = 0
    SILENT = 1  # others accept in its stead
    LONG = 2  # a quarter of the time that it is given
    STUCK = 3


def stage(silence: float, limit: float | None) -> Stage:
    """`silence` is the age of the heartbeat, `limit` how long one may be; seconds."""
    if silence < SILENT_AFTER:
        return Stage.BEATING
    if limit is None or silence < limit / 4:
        return Stage.SILENT
    return Stage.LONG if silence < limit else Stage.STUCK


class Kind(enum.Enum):
    """The value says it in the log."""

    STOPPED = "its process is stopped, by a signal such as SIGSTOP or by a debugger"
    UNINTERRUPTIBLE = "it waits in the kernel for a disk or a network file system and cannot be interrupted"
    GIL_COMPUTES = "native code that computes holds the GIL and lets no Python code run"
    GIL_WAITS = "native code that waits holds the GIL and lets no Python code run"
    GIL = "native code holds the GIL and lets no Python code run"
    LOOP_COMPUTES = "its event loop is blocked by code that computes without a pause"
    LOOP_WAITS = "its event loop is blocked by a call that waits and is not asynchronous"
    LOOP = "its event loop is blocked"


@dataclass(frozen=True, slots=True)
class Evidence:
    """`states` are the kernel's letters for the loop's thread, of several looks; `cpu` is the share of a core that it
    used; None where the system does not say. `answered`: the probe could have the GIL."""

    states: str
    cpu: float | None
    answered: bool


def diagnose(evidence: Evidence) -> Kind:
    """proc_pid_stat(5): T and t are stopped, D waits without being interruptible, R runs or could run."""
    states = set(evidence.states)
    if states and states <= {"T", "t"}:
        return Kind.STOPPED
    if states == {"D"}:
        return Kind.UNINTERRUPTIBLE
    if evidence.cpu is None:
        return Kind.LOOP if evidence.answered else Kind.GIL
    if evidence.cpu >= COMPUTES or "R" in states:
        return Kind.LOOP_COMPUTES if evidence.answered else Kind.GIL_COMPUTES
    return Kind.LOOP_WAITS if evidence.answered else Kind.GIL_WAITS


def named_requests(seen: Mapping[str, Any], what: str = "") -> str:
    """The requests that a slot of the scoreboard speaks of: `3 requests (GET /a, GET /b, ...)`, with `what` behind the
    number of them. Empty without any."""
    known = [*([seen["current"]] if seen["current"] else []), *seen["waiting"]]
    number = max(seen["in_flight"], len(known))
    if number == 0:
        return ""
    lines = [request["line"] for request in sorted(known, key=lambda request: request["since_ns"])[:NAMED_AT_MOST]]
    if lines and number > len(lines):
        lines.append("...")
    return f"{number} request{'' if number == 1 else 's'}{what}" + (f" ({', '.join(lines)})" if lines else "")
