"""Probes: when a restart would help, when a connection would be served."""

from __future__ import annotations

import pytest
from support.readings import reading, snapshot

from swell.supervisor.admin.health import SILENCE_SECONDS, live, ready, started

LONG = 30.0 + SILENCE_SECONDS + 1


@pytest.mark.parametrize(
    ("workers", "state", "expected"),
    [
        ([], "running", True),
        ([reading()], "running", True),
        ([reading(silence=31.0)], "running", True),  # the parent is about to replace it
        ([reading(silence=LONG)], "running", False),
        ([reading(silence=LONG), reading(1)], "running", True),
        ([reading(silence=LONG), reading(1, "starting")], "running", True),
        ([reading(silence=LONG), reading(1, "stuck", silence=LONG)], "reloading", False),
        ([reading(silence=LONG)], "draining", True),
        ([], "starting", True),
    ],
)
def test_live(workers: list[object], state: str, expected: bool) -> None:
    found, document = live(snapshot(*workers, state=state), 30.0)  # type: ignore[arg-type]
    assert (found, document["live"], len(document["workers"])) == (expected, expected, len(workers))


def test_workers_that_may_stand_still_for_ever_are_no_reason_for_a_restart() -> None:
    assert live(snapshot(reading(silence=1e6)), None)[0]


@pytest.mark.parametrize(
    ("workers", "state", "expected"),
    [
        ([reading()], "running", True),
        ([reading()], "reloading", True),
        ([reading(), reading(1, "stuck")], "running", True),
        ([reading(0, "stuck")], "running", False),
        ([reading(0, "starting")], "running", False),
        ([], "sleeping", True),
        ([reading()], "draining", False),
        ([reading()], "stopping", False),
        ([reading(0, "starting")], "starting", False),
    ],
)
def test_ready(workers: list[object], state: str, expected: bool) -> None:
    assert ready(snapshot(*workers, state=state))[0] is expected  # type: ignore[arg-type]


def test_started() -> None:
    assert [started(snapshot(state=state))[0] for state in ("starting", "running", "draining")] == [False, True, True]
