"""What the parent counts: from zero, never backwards, and on after an upgrade."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

from support.readings import slot
from telemetry.metrics.test_families import values

from swell.metrics.store import Store
from swell.supervisor.meter import Cause, Meter
from swell.supervisor.workers import State


class Board:
    """One slot, which says what it is told."""

    def __init__(self) -> None:
        self.said = slot(state="ready")

    def read(self, number: int) -> dict[str, Any]:
        return self.said

    def requests(self, number: int) -> list[Any]:
        return []


WORKER = SimpleNamespace(seat=SimpleNamespace(slot=0), started=0.0, state=State.READY)
PARENT = cast(
    Any,
    SimpleNamespace(
        state="running", target=1, minimum=1, maximum=1, generation=SimpleNamespace(number=1), workers={1: WORKER}
    ),
)


def meter(path: Path) -> tuple[Meter, Board]:
    board = Board()
    slots = SimpleNamespace(board=board, metrics=Store.create(str(path), 1))
    return Meter(cast(Any, slots), cast(Any, SimpleNamespace(read=list))), board


def shown(one: Meter) -> dict[str, float]:
    return values(one.snapshot(PARENT))


def test_a_look_between_two_stores_takes_nothing_back(tmp_path: Path) -> None:
    """A worker writes the two words of a difference one after the other."""
    one, board = meter(tmp_path / "metrics")
    rows = []
    for whole, part in ((100, 50), (100, 51), (101, 51), (103, 51)):
        board.said = slot(
            state="ready", samples=whole, busy_samples=part, refused=whole, overloaded=part,
            handshakes=whole, handshakes_resumed=part,
        )  # fmt: skip
        found = shown(one)
        rows.append(
            (
                found["swell_loop_samples_total{state=waiting}"],
                found["swell_requests_refused_total{reason=request}"],
                found["swell_tls_handshakes_total{resumed=no}"],
            )
        )
    assert rows == [(50, 50, 50), (50, 50, 50), (50, 50, 50), (52, 52, 52)]


def test_an_upgrade_in_between_takes_nothing_back_either(tmp_path: Path) -> None:
    old, board = meter(tmp_path / "old")
    board.said = slot(state="ready", samples=100, busy_samples=50)
    assert shown(old)["swell_loop_samples_total{state=waiting}"] == 50
    board.said = slot(state="ready", samples=100, busy_samples=51)
    old.hand_on(tmp_path / "counted", PARENT)
    new, _ = meter(tmp_path / "new")
    new.take_over(tmp_path / "counted")
    found = shown(new)
    assert found["swell_loop_samples_total{state=waiting}"] == 50
    assert found["swell_loop_samples_total{state=busy}"] == 51


def test_every_cause_of_an_end_is_there_before_the_first(tmp_path: Path) -> None:
    """Prometheus sees a series rise only from its second sample on: four crashes at once would be no rise at all."""
    found = shown(meter(tmp_path / "metrics")[0])
    assert {name: found[name] for name in found if "worker_exits" in name} == {
        f"swell_worker_exits_total{{cause={cause}}}": 0 for cause in get_args(Cause)
    }
