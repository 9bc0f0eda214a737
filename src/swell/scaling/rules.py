"""The rules: what makes the count rise, and how far it may fall.

Up, the largest wish of `burst`, `panic`, `stable` (linear signals over three windows) and `delay`. Down, the largest
of several floors. Every rule says its reason. Knows no guards and no bounds; `decide` puts them on top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from swell.scaling import words
from swell.scaling.policy import Policy
from swell.scaling.view import Reading, View
from swell.scaling.window import CPU, UTILISATION, Memory

__all__ = ["Floor", "Wish", "down_window", "falling", "is_panic", "load", "need", "rising"]

# Means come out of long sums: a need of 2.0000001 is one of 2.
_ALMOST = 1e-6
# Reversals double the down window this many times at most: 60 s become 8 minutes.
MOST_DOUBLINGS = 3
# The load under which a strained count may be returned to, of the load that strained it. Room for noise.
RELIEF = 0.8
# A smaller count is tried only if the delay that is foreseen for it stays below this share of the target.
HEADROOM = 0.8
# Loops that are busy for this share of a panic window are full: utilisation cannot say how much more there is to do.
SATURATED = 0.95
_NAMES = {"dispatch_delay": "dispatch delay", "loop_lag": "loop lag"}


@dataclass(frozen=True, slots=True)
class Wish:
    """A rule wants `target` workers, more than there are."""

    target: int
    rule: str
    signal: str
    text: str


@dataclass(frozen=True, slots=True)
class Floor:
    """The count may not fall below `count`, because."""

    count: int
    text: str


def _whole(need: float) -> int:
    return max(0, math.ceil(need - _ALMOST))


def _exceeds(need: float, count: int, policy: Policy) -> bool:
    return need > count * (1 + policy.tolerance) + _ALMOST


def _level(reading: Reading, value: float | None) -> str:
    shown = value or 0.0
    return {
        "utilisation": f"loops {words.percent(shown)} busy",
        "cpu": f"CPU per worker {words.percent(shown)}",
        "pool": f"thread pool {words.percent(shown)} in use",
        "in_flight": f"{words.number(shown)} requests in flight per worker",
    }[reading.name]


def _says(reading: Reading, value: float | None, seconds: float) -> str:
    target = words.number(reading.target) if reading.name == "in_flight" else words.percent(reading.target)
    return f"{_level(reading, value)} > {target} for {words.duration(seconds)}"


def load(view: View) -> str:
    """The signal that asks for most, in words: `loops 41 % busy`."""
    most = max(view.readings, key=lambda reading: reading.needs_short)
    return _level(most, most.short)


def _is_burst(reading: Reading, view: View, policy: Policy, current: int) -> bool:
    """Much more than usual, in every sample of a short time: one noisy sample is none, a busy service neither."""
    return (
        view.burst is not None
        and _exceeds(reading.needs_burst, current, policy)
        and reading.sustained > current
        and reading.needs_burst >= policy.panic_threshold * reading.needs_before
    )


def _is_panic(reading: Reading, view: View, policy: Policy, current: int) -> bool:
    """Knative's: the quick mean asks for a multiple of what is ready. Or loops that never rest and so hide theirs."""
    if reading.sustained <= current or view.short.covered < policy.burst_window - _ALMOST:
        return False
    if reading.signal == UTILISATION and view.short.covered >= 0.9 * policy.panic_window:
        saturated = view.short.known[UTILISATION] >= SATURATED * max(1, current)
    else:
        saturated = False
    return saturated or _whole(reading.needs_short) >= policy.panic_threshold * max(1, view.last.ready)


def is_panic(view: View, policy: Policy, current: int) -> bool:
    """Whether there is cause for a panic right now."""
    return any(
        _is_burst(reading, view, policy, current) or _is_panic(reading, view, policy, current)
        for reading in view.readings
    )


def rising(view: View, policy: Policy, memory: Memory, current: int, *, panicking: bool) -> Wish | None:
    """The largest wish for more workers; the quickest rule among equal ones."""
    wishes = []
    for reading in view.readings:
        if reading.sustained <= current:
            continue
        # A queue grows while the workers that will empty it start; it asks again when their effect can be seen.
        quick = reading.signal in (UTILISATION, CPU) or memory.unsettled_at <= view.now - policy.burst_window
        if quick and view.burst is not None and _is_burst(reading, view, policy, current):
            text = _says(reading, reading.burst, min(policy.burst_window, view.burst.covered))
            wishes.append(Wish(_whole(reading.needs_burst), "burst", reading.name, f"{text}, a burst"))
        if quick and panicking and _exceeds(reading.needs_short, current, policy):
            text = _says(reading, reading.short, min(policy.panic_window, view.short.covered))
            wishes.append(Wish(_whole(reading.needs_short), "panic", reading.name, text))
        if view.covered >= policy.panic_window * 0.9 and _exceeds(reading.needs_stable, current, policy):
            text = _says(reading, reading.stable, min(policy.stable_window, view.covered))
            wishes.append(Wish(_whole(reading.needs_stable), "stable", reading.name, text))
    if (late := _delayed(view, policy, memory, current)) is not None:
        wishes.append(late)
    return max(wishes, key=lambda wish: wish.target, default=None)


def _delayed(view: View, policy: Policy, memory: Memory, current: int) -> Wish | None:
    """A step up because of a delay: bounded, and only when the last step's effect can be seen in a whole window."""
    if view.short.covered < policy.panic_window * 0.9 or memory.unsettled_at > view.now - policy.panic_window:
        return None
    held = [(delay.value, delay.name) for delay in view.delays if delay.held and delay.value is not None]
    if not held:
        return None
    value, name = max(held)
    target = min(_whole(current * value / policy.delay), _whole(current * policy.delay_step))
    over = f"{words.delay(value)} > {words.delay(policy.delay)}"
    text = f"{_NAMES[name]} p95 {over} for {words.duration(policy.panic_window)}"
    return Wish(max(target, current + 1), "delay", name, text)


def need(view: View) -> int:
    """Workers that this moment needs, with missing data at 100 %: the step of the staircase in the memory."""
    return max(1, *(_whole(reading.down_short) for reading in view.readings))


def down_window(policy: Policy, memory: Memory, now: float) -> float:
    """The down window, longer after each recent time that the count rose again after it had fallen."""
    recent = [change for change in memory.changes if change.at > now - policy.damping_window]
    turns = sum(later.after > later.before and earlier.after < earlier.before for earlier, later in pairwise(recent))
    return float(policy.down_window * 2 ** min(MOST_DOUBLINGS, turns))


def falling(view: View, policy: Policy, memory: Memory, current: int, *, panicking: bool) -> tuple[int, Floor]:
    """What would be enough now, and the highest floor under the count."""
    now, window = view.now, down_window(policy, memory, view.now)
    enough = need(view)
    floors = [Floor(enough, "")]
    peak = max((count for at, count in memory.needs if at > now - window), default=current)
    floors.append(Floor(peak, f"{words.workers(peak)} were needed within the last {words.duration(window)}"))
    # One fall to where the need has come to rest, instead of one now and the next a whole window later.
    later = window - min(policy.panic_window, window / 2)
    if max((count for at, count in memory.needs if at > now - later), default=peak) < peak:
        floors.append(Floor(current, "the need was still falling a window ago"))
    stable = max(_whole(reading.down_stable) for reading in view.readings)
    floors.append(Floor(stable, f"the last {words.duration(policy.stable_window)} needed {stable}"))
    floors.append(Floor(current - max(1, int(current * policy.down_share)), "no more may go at a time"))
    if panicking:
        left = memory.panic_until - now
        floors.append(Floor(current, f"the load rose quickly, no worker goes for another {words.duration(left)}"))
    if (waited := max(policy.stable_window, window)) > view.history_age + _ALMOST:
        text = f"samples reach back {words.duration(max(0.0, view.history_age))}, {words.duration(waited)} are needed"
        floors.append(Floor(current, text))
    if memory.changes and memory.changes[-1].at > now - window:
        floors.append(Floor(current, f"the count changed within the last {words.duration(window)}"))
    if not view.last.ready:
        floors.append(Floor(current, "no worker is ready"))
    floors.append(_strained(view, policy, memory))
    floors.append(_foreseen(view, policy, current))
    highest = max(floors, key=lambda floor: floor.count)
    if highest.count > current * (1 - policy.tolerance) + _ALMOST and highest.count < current:
        highest = Floor(current, f"a difference of {words.percent(policy.tolerance)} is no reason to change")
    return enough, highest


def _strained(view: View, policy: Policy, memory: Memory) -> Floor:
    """One more than the largest count that had a delay over its target under a load like this one."""
    load = view.stable.known[UTILISATION]
    counts = [
        count
        for at, count, strain in memory.strains
        if at > view.now - policy.strain_memory and load >= RELIEF * strain
    ]
    worst = max(counts, default=0)
    return Floor(worst + 1, f"{words.workers(worst)} had delays over {words.delay(policy.delay)} under this load")


def _foreseen(view: View, policy: Policy, current: int) -> Floor:
    """The smallest count whose delay, foreseen, leaves headroom.

    In a queue the wait grows as ρ/(1-ρ) with the utilisation ρ, and ρ as 1/count. Counts at which the loops would idle
    are not judged: a delay there comes from single blocking calls.
    """
    slowest = max((delay.stable for delay in view.delays if delay.stable is not None), default=0.0)
    load = view.stable.known[UTILISATION]
    busy = min(0.99, load / max(1, current))
    if slowest <= 0 or busy <= 0:
        return Floor(1, "")
    for count in range(current - 1, 0, -1):
        busier = load / count
        if busier < policy.idle_utilisation:
            continue
        foreseen = math.inf if busier >= 0.99 else slowest * (busier / (1 - busier)) / (busy / (1 - busy))
        if foreseen > HEADROOM * policy.delay:
            shown = "beyond all bounds" if foreseen == math.inf else f"to {words.delay(foreseen)}"
            return Floor(count + 1, f"with {count} the delay would grow {shown}")
    return Floor(1, "")
