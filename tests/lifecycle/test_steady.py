"""The steady load itself: it sees every kind of loss, tells apart what is none, and loses count of nothing."""

from __future__ import annotations

import pytest
from support.link import How
from support.steady import steady_load
from support.steady_clients import Client, Fresh, KeepAlive, WebSockets
from support.steady_report import Report

from lifecycle.crooked import PID, Fault, crooked

QUICK = 0.005


def kept(count: int = 4) -> dict[type[Client], tuple[int, float]]:
    return {KeepAlive: (count, QUICK)}


def load_on(
    fault: Fault, mix: dict[type[Client], tuple[int, float]], *, every: int = 20, patience: float = 5.0
) -> tuple[Report, int]:
    """What the load says of a server with this fault, and how often the fault was shown."""
    with crooked(fault, every) as server:
        with steady_load(server.address, mix=mix, seconds=30, patience=patience) as load:
            load.wait(lambda report: report.answered + len(report.lost) >= 150, "150 outcomes")
        return load.report, server.faults


def test_a_good_server_loses_nothing() -> None:
    report, _ = load_on(Fault.NONE, {KeepAlive: (4, QUICK), Fresh: (2, QUICK), WebSockets: (2, QUICK)})
    report.check(fewest=150)
    assert report.workers().keys() == {PID}
    assert set(report.started) == {"keep-alive", "new connection", "websocket"}
    assert report.started.total() == report.answered
    assert not report.retried
    assert report.latency(0.5) > 0


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        (Fault.DROP, How.CLOSED),
        (Fault.TRUNCATE, How.TRUNCATED),
        (Fault.WRONG, How.WRONG),
        (Fault.STATUS, How.STATUS),
        (Fault.SILENT, How.LATE),
    ],
)
@pytest.mark.parametrize("kind", [KeepAlive, Fresh])
def test_each_loss_is_counted(fault: Fault, how: How, kind: type[Client]) -> None:
    report, faults = load_on(fault, {kind: (4, QUICK)}, patience=0.3)
    assert faults >= 5
    assert {loss.how for loss in report.lost} == {how}
    assert len(report.lost) == faults
    assert report.unaccounted == 0
    with pytest.raises(AssertionError, match=f"{faults} requests were lost, 0 may be(.|\n)*{how.value}"):
        report.check()


def test_a_reset_of_a_new_connection_is_a_loss() -> None:
    report, faults = load_on(Fault.RESET, {Fresh: (4, QUICK)})
    assert [loss.how for loss in report.lost] == [How.RESET] * faults
    assert faults >= 5


def test_a_refused_connection_is_a_loss() -> None:
    report, _ = load_on(Fault.REFUSE, {Fresh: (2, QUICK)})
    # Those in the queue of a socket that is closed are reset.
    assert {How.REFUSED} <= {loss.how for loss in report.lost} <= {How.REFUSED, How.RESET}
    assert all(loss.unread for loss in report.lost)
    assert report.answered in (20, 21)  # one may have been accepted already


def test_connections_closed_when_idle_are_no_loss() -> None:
    """RFC 9112 §9.5: a server may close a connection at any time; with no request on it nothing is lost."""
    report, faults = load_on(Fault.IDLE, kept())
    report.check()
    assert report.closed_idle + len(report.retried) >= faults - 4  # one per client may not have been looked at again
    assert report.closed_idle > 0


def test_a_request_that_the_server_did_not_read_is_asked_again() -> None:
    """RFC 9112 §9.3.1: it was on its way when the server closed the kept connection."""
    report, faults = load_on(Fault.UNREAD, kept())
    report.check()
    assert len(report.retried) == faults
    assert faults >= 10


def test_it_is_asked_again_only_once_and_never_on_a_new_connection() -> None:
    report, _ = load_on(Fault.UNREAD_ALWAYS, kept())
    assert report.answered == 0
    assert report.retried == []
    assert {loss.how for loss in report.lost} == {How.RESET}


def test_a_websocket_that_ends_with_1012_is_followed_by_another() -> None:
    report, faults = load_on(Fault.GO_AWAY, {WebSockets: (4, QUICK)})
    report.check()
    assert report.sessions_closed == {1012: faults}
    assert report.resent == faults
    assert faults >= 5


def test_a_websocket_without_a_close_frame_is_a_loss() -> None:
    report, faults = load_on(Fault.VANISH, {WebSockets: (4, QUICK)})
    assert [loss.how for loss in report.lost] == [How.CLOSED] * faults
    assert faults >= 5


def test_the_load_is_bounded_in_number_and_time() -> None:
    with crooked(Fault.NONE) as server:
        with (
            pytest.raises(AssertionError, match="cut off after its 50 requests"),
            steady_load(server.address, mix=kept(1), most=50) as load,
        ):
            load.wait(lambda report: report.started.total() > 50, "more than allowed")
        assert load.report.answered == 50
        with (
            pytest.raises(AssertionError, match=r"cut off after its 0\.3 s"),
            steady_load(server.address, mix=kept(1), seconds=0.3) as load,
        ):
            load.wait(lambda report: False, "longer than allowed")
