"""How many workers there shall be: signals → policy → decision, as pure functions.

No processes, no clock, no storage: the parent samples, asks `decide` and acts; `simulate` does the same with a fake
clock. docs/scaling.md tells it to users, its table is made from `policy` by `python -m swell.scaling.docs`.
"""

from __future__ import annotations

from swell.scaling.decide import Bounds, Decision, Inputs, decide, new_history
from swell.scaling.forecast import Forecast, Hour, Mode, foresee, outlook
from swell.scaling.policy import PARAMETERS, Policy, read_policy
from swell.scaling.signals import HostSample, WorkerSample, worker_sample
from swell.scaling.window import Change, History, Memory, Tick

__all__ = [
    "PARAMETERS",
    "Bounds",
    "Change",
    "Decision",
    "Forecast",
    "History",
    "HostSample",
    "Hour",
    "Inputs",
    "Memory",
    "Mode",
    "Policy",
    "Tick",
    "WorkerSample",
    "decide",
    "foresee",
    "new_history",
    "outlook",
    "read_policy",
    "worker_sample",
]
