"""The guards: what forbids another worker, whatever the rules wish. Each one is a number and a sentence.

A guard never takes a worker away. Called by `decide`; knows the view and the policy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from swell.scaling import words
from swell.scaling.policy import Policy
from swell.scaling.rules import Wish
from swell.scaling.view import View
from swell.scaling.window import CPU, UTILISATION

__all__ = ["Guard", "budgeted", "guards", "upstream"]

# A worker that spends less than this share of a core says nothing about how much the next one would take.
_SLIGHT = 0.05


@dataclass(frozen=True, slots=True)
class Guard:
    """No more than `most` workers, because."""

    name: str
    most: int
    text: str


def guards(view: View, policy: Policy, wish: Wish, current: int) -> list[Guard]:
    """Those that stand against the wish, in the order in which they are told."""
    found = [
        _host_cpu(view, policy, current),
        _throttled(view, policy, current),
        _memory(view, policy, wish, current),
        _upstream_bound(view, policy, wish, current),
        _blocking(view, policy, wish, current),
    ]
    return [guard for guard in found if guard is not None and guard.most < wish.target]


def budgeted(policy: Policy, wanted: int) -> Guard | None:
    """The count that the connection budget allows; `None` without one."""
    if policy.connection_budget is None or policy.connections_per_worker is None:
        return None
    most = int(policy.connection_budget // policy.connections_per_worker)
    each, budget = words.number(policy.connections_per_worker), words.number(policy.connection_budget)
    return Guard("connections", most, f"{wanted} × {each} connections would exceed the budget of {budget}")


def upstream(view: View) -> str:
    """Why idle loops with many requests in flight are no reason for more workers."""
    busy = words.percent((view.burst or view.short).per_worker(UTILISATION))
    return (
        f"{words.number(view.in_flight)} requests in flight per worker while the loops are {busy} busy: "
        "they wait for an upstream, more workers would not help"
    )


def _host_cpu(view: View, policy: Policy, current: int) -> Guard | None:
    """None at all on a busy machine; on another as many as it has cores for, by what a worker takes now."""
    if view.host_cpu is None or policy.host_cpu is None:
        return None
    if view.host_cpu >= policy.host_cpu:
        text = f"host CPU {words.percent(view.host_cpu)} ≥ {words.percent(policy.host_cpu)}: needs more machines"
        return Guard("host-cpu", current, text)
    cores, each = view.last.host.cores, view.short.per_worker(CPU)
    if view.burst is not None:
        each = max(each, view.burst.per_worker(CPU))
    if cores is None or not math.isfinite(cores) or cores <= 0 or each < _SLIGHT:
        return None
    free = (1 - max(0.0, view.host_cpu)) * cores
    text = f"only {words.number(free)} cores are free and a worker takes {words.number(each)}"
    return Guard("host-cpu", max(current, view.last.ready + max(1, math.ceil(free / each))), text)


def _throttled(view: View, policy: Policy, current: int) -> Guard | None:
    if view.throttled is None or view.throttled < policy.throttled:
        return None
    text = (
        f"the container is throttled in {words.percent(view.throttled)} of its CPU periods: "
        "needs a larger limit or more machines"
    )
    return Guard("throttled", current, text)


def _memory(view: View, policy: Policy, wish: Wish, current: int) -> Guard | None:
    """As many as the limit holds of the largest: a worker that is small because it is new will grow like the others."""
    limit, each = view.last.host.memory_limit, view.last.rss_most
    if limit is None or limit <= 0 or each <= 0:
        return None
    most = max(current, int(policy.memory * limit // each))
    text = (
        f"{words.workers(min(most + 1, wish.target))} of {words.size(each)} would take more than "
        f"{words.percent(policy.memory)} of {words.size(limit)}"
    )
    return Guard("memory", most, text)


def _upstream_bound(view: View, policy: Policy, wish: Wish, current: int) -> Guard | None:
    if wish.signal != "in_flight" or not view.is_idling(policy):
        return None
    return Guard("upstream", current, upstream(view))


def _blocking(view: View, policy: Policy, wish: Wish, current: int) -> Guard | None:
    """A delay with idle loops: every call that blocks a loop delays its neighbours, with any number of loops."""
    busy = view.short.per_worker(UTILISATION)
    if wish.rule != "delay" or busy >= policy.idle_utilisation:
        return None
    text = f"the loops are only {words.percent(busy)} busy: single calls block them, run those in threads"
    return Guard("blocking", current, text)
