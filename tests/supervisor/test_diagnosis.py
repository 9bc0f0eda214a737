"""What the signs say about a worker whose heartbeat has stopped: pure rules."""

from typing import Any

import pytest

from swell.supervisor.diagnosis import SILENT_AFTER, Evidence, Kind, Stage, diagnose, named_requests, stage


@pytest.mark.parametrize(
    ("silence", "limit", "expected"),
    [
        (0.0, 30.0, Stage.BEATING),
        (1.1, 30.0, Stage.BEATING),  # an idle loop beats once a second
        (SILENT_AFTER, 30.0, Stage.SILENT),
        (7.4, 30.0, Stage.SILENT),
        (7.5, 30.0, Stage.LONG),
        (29.9, 30.0, Stage.LONG),
        (30.0, 30.0, Stage.STUCK),
        (1.4, 1.0, Stage.BEATING),  # a limit below the beat cannot be kept
        (SILENT_AFTER, 1.0, Stage.STUCK),
        (3600.0, None, Stage.SILENT),
    ],
)
def test_how_long_a_silence_is(silence: float, limit: float | None, expected: Stage) -> None:
    assert stage(silence, limit) is expected


@pytest.mark.parametrize(
    ("states", "cpu", "answered", "expected"),
    [
        ("RR", 0.98, True, Kind.LOOP_COMPUTES),
        ("RS", 0.2, True, Kind.LOOP_COMPUTES),  # a crowded machine
        ("SS", 0.98, True, Kind.LOOP_COMPUTES),  # seen while it waited for the GIL
        ("SS", 0.0, True, Kind.LOOP_WAITS),
        ("DS", 0.0, True, Kind.LOOP_WAITS),  # a short wait for a disk among others
        ("RR", 0.98, False, Kind.GIL_COMPUTES),
        ("SS", 0.0, False, Kind.GIL_WAITS),
        ("TT", 0.0, False, Kind.STOPPED),
        ("tt", 0.0, False, Kind.STOPPED),
        ("DD", 0.0, True, Kind.UNINTERRUPTIBLE),
        ("", None, True, Kind.LOOP),
        ("", None, False, Kind.GIL),
    ],
)
def test_what_is_the_matter(states: str, cpu: float | None, answered: bool, expected: Kind) -> None:
    assert diagnose(Evidence(states, cpu, answered)) is expected


def slot(in_flight: int, *lines: str, current: str = "") -> dict[str, Any]:
    waiting = [{"line": line, "since_ns": number} for number, line in enumerate(lines)]
    return {
        "in_flight": in_flight,
        "current": {"line": current, "since_ns": 99} if current else None,
        "waiting": waiting,
    }


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (slot(0), ""),
        (slot(1), "1 request lost"),
        (slot(1, current="GET /a"), "1 request lost (GET /a)"),
        (slot(3, "GET /a", "GET /b", current="GET /c"), "3 requests lost (GET /a, GET /b, GET /c)"),
        (slot(40, *"abcdefg"), "40 requests lost (a, b, c, d, e, ...)"),
    ],
)
def test_requests_are_counted_and_named(seen: dict[str, Any], text: str) -> None:
    assert named_requests(seen, " lost") == text
