"""When a new generation of the code may take over, and when its workers may accept."""

from dataclasses import replace
from typing import cast

import pytest

from swell.supervisor.generation import Generation, Stage, has_stopped, is_gathered, may_accept
from swell.supervisor.witness import Witness
from swell.supervisor.workers import State, Worker
from swell.worker.attached import Seat
from swell.worker.channel import Channel

NEW = Generation(2, None, Stage.GATHERING)


def worker(generation: int, state: State, shards: tuple[int, ...] | None, *, said: bool = False) -> Worker:
    """`said`: that it accepts no more."""
    one = Worker(Seat(1, generation, 0), cast(Channel, None), cast(Witness, None), "", 0.0, "")
    one.state, one.shards, one.accepting = state, shards, not said
    return one


def old(state: State = State.READY, *, said: bool = False) -> Worker:
    return worker(1, state, (0,), said=said)


def new(state: State = State.READY) -> Worker:
    return worker(2, state, None)


@pytest.mark.parametrize(
    ("workers", "gathered"),
    [
        ([old(), old(), new(), new(State.STARTING)], False),
        ([old(), old(), new(), new()], True),
        ([old(), new()], False),
        ([new(), new(State.STARTING)], True),  # nobody else serves
        ([old(State.DRAINING), new(), new(State.STARTING)], True),
        ([worker(1, State.READY, None), new()], True),  # it never served
    ],
)
def test_a_generation_takes_over_when_all_are_ready_or_nobody_else_serves(
    workers: list[Worker], gathered: bool
) -> None:
    assert is_gathered(NEW, workers, 2) is gathered


def test_the_target_may_change_meanwhile() -> None:
    workers = [old(), old(), new(), new(State.STARTING)]
    assert is_gathered(NEW, workers, 1)
    assert not is_gathered(NEW, [*workers, new()], 3)
    assert is_gathered(NEW, [old()], 0)


def test_those_before_have_stopped_when_each_has_said_so() -> None:
    switching = replace(NEW, stage=Stage.SWITCHING)
    assert not has_stopped(switching, [old(State.DRAINING), old(State.DRAINING, said=True), new()])
    assert has_stopped(switching, [old(State.DRAINING, said=True), new()])
    held_up = old(State.DRAINING)
    held_up.silent = True
    assert has_stopped(switching, [held_up, new()]), "it could not say so"
    assert has_stopped(switching, [worker(1, State.STARTING, None)]), "it never accepted"


@pytest.mark.parametrize("stage", Stage)
def test_new_workers_accept_when_their_generation_serves(stage: Stage) -> None:
    generation = replace(NEW, stage=stage)
    assert may_accept(new(), generation) is (stage is Stage.SERVING)
    assert may_accept(old(), generation)
    assert may_accept(worker(2, State.READY, ()), generation), "it accepts already, although from no socket of its own"
    assert not may_accept(worker(1, State.READY, None), generation), "it missed its time"
