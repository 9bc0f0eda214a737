"""When certificates are renewed, and when orders that failed are tried again."""

from __future__ import annotations

import pytest

from swell.supervisor.acme.schedule import Fault, pause, renewal

DAY = 86400.0
HOUR = 3600.0


@pytest.mark.parametrize(("days", "after"), [(90, 60), (6, 4), (45, 30)])
def test_renewal_is_at_two_thirds_of_the_lifetime_or_a_little_earlier(days: int, after: int) -> None:
    assert renewal(0, days * DAY, 0.0) == pytest.approx(after * DAY)
    earliest = renewal(0, days * DAY, 0.999)
    assert after * DAY - days * DAY / 20 <= earliest < after * DAY


def test_an_authority_that_refuses_is_asked_four_times_in_the_first_hour() -> None:
    at, attempts, failures = 0.0, 0, 0
    while at < HOUR:
        attempts, failures = attempts + 1, failures + 1
        at += pause(Fault.REFUSED, failures, 0.0, 0.0)
    assert attempts == 4
    assert pause(Fault.REFUSED, 1000, 0.0, 0.0) == 12 * HOUR


def test_an_authority_that_cannot_be_reached_is_asked_soon_and_then_less_often() -> None:
    waits = [pause(Fault.UNREACHABLE, failures, 0.0, 0.0) for failures in (1, 2, 3, 50, 5000)]
    assert waits == [5.0, 10.0, 20.0, HOUR, HOUR]


def test_what_the_authority_asks_for_is_granted_within_reason() -> None:
    assert pause(Fault.REFUSED, 1, 7200.0, 0.0) == 7200.0
    assert pause(Fault.REFUSED, 1, 1e9, 0.0) == 7 * DAY
    assert pause(Fault.LIMITED, 1, 0.0, 0.0) == HOUR
    assert pause(Fault.LIMITED, 9, 0.0, 0.0) == 12 * HOUR


def test_chance_only_lengthens() -> None:
    for fault in Fault:
        assert pause(fault, 3, 0.0, 0.0) < pause(fault, 3, 0.0, 0.5) <= 1.25 * pause(fault, 3, 0.0, 0.0)
