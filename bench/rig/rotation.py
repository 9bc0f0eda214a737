"""Servers compared within a few percent, on a machine whose every second differs from the next by a tenth.

All servers are up at once, on one core, each with a load of its own on the other. Only one load runs at a time, for
20 ms; then it is stopped where it is and another goes on, in an order drawn anew each time. So whatever slows the
machine down meets all of them alike. One slice of each turn is nobody's: what a server needs there it needs by the
clock, and not for requests. That would count as often as there are servers: it is taken off, and put on again as the
share of a core that it is.

Called by `observed.py`.
"""

import contextlib
import random
import signal
import time
from collections.abc import Sequence
from typing import NamedTuple

from rig import load, procs
from rig.scenarios import Scenario
from rig.servers import Running

SLICE_SECONDS = 0.02
SETTLING_SECONDS = 0.005
"""In which the requests are answered that were on their way when the loads were stopped."""
WARM_UP_SECONDS = 0.5


class Figures(NamedTuple):
    """Of one server in one rotation."""

    cpu_us: float
    """Per request, what it needs by the clock included."""
    by_the_clock: float
    """Share of a core that it needs while nobody asks."""
    completed: int
    """Requests in its slices, which are as long as those of the others."""


def rotate(scenario: Scenario, up: Sequence[Running], core: int, seconds: float) -> list[Figures]:
    """What each of these servers needs. The loads run on `core`, each for `seconds`."""
    for one in up:
        load.window(scenario, one.address, core, (), WARM_UP_SECONDS, 0)
    processes = [one.pids() for one in up]
    whole = (seconds / SLICE_SECONDS) * (len(up) * SLICE_SECONDS + SETTLING_SECONDS + SLICE_SECONDS)
    rested, resting = [0.0] * len(up), 0.0
    before, began = _cpu(processes), time.monotonic()
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(load.stopped(scenario, one.address, core, whole)) for one in up]
        while time.monotonic() < began + whole - (len(up) + 2) * SLICE_SECONDS:
            for one in random.sample(loads, len(loads)):
                one.send_signal(signal.SIGCONT)
                time.sleep(SLICE_SECONDS)
                one.send_signal(signal.SIGSTOP)
            time.sleep(SETTLING_SECONDS)
            first, since = _cpu(processes), time.monotonic()
            time.sleep(SLICE_SECONDS)
            rested = [total + now - then for total, now, then in zip(rested, _cpu(processes), first, strict=True)]
            resting += time.monotonic() - since
        for one in loads:
            one.send_signal(signal.SIGCONT)
        results = [load.result(one) for one in loads]
    used, passed = _cpu(processes), time.monotonic() - began
    found = []
    for result, rest, after, earlier in zip(results, rested, used, before, strict=True):
        share = rest / resting
        cpu = (after - earlier - share * passed) / result.completed * 1e6
        found.append(Figures(cpu * (1 + share), share, result.completed))
    return found


def _cpu(processes: Sequence[Sequence[int]]) -> list[float]:
    return [procs.run_seconds(pids) for pids in processes]
