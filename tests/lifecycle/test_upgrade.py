"""SIGUSR2 under load: a new parent, a new interpreter and new workers on the same sockets, without loss."""

from __future__ import annotations

import json
import signal
from typing import Any

from support.kernel import wait_until
from support.steady import MIX, steady_load

from lifecycle.running import Instance, alive, instance
from lifecycle.test_reload import LongStreams

SECONDS = 30.0  # two interpreters start on a busy machine


def status(running: Instance) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(running.command("status", "--json"))
    return found


def test_new_parents_lose_nothing() -> None:
    with instance() as running:
        with steady_load(running.address, mix={**MIX, LongStreams: (3, 0.5)}) as load:
            load.wait_answers(200)
            for generation in (2, 3):
                before = status(running)
                old = [worker["pid"] for worker in before["workers"]]
                assert len(old) == 4
                running.write(generation)
                running.signal(signal.SIGUSR2)
                load.wait_generation(generation, seconds=SECONDS)
                wait_until(lambda old=old: not any(map(alive, old)), "the old workers have ended", SECONDS)  # type: ignore[misc]
                after = status(running)
                assert after["instance"]["pid"] != before["instance"]["pid"]
                load.wait_answers(200)
        load.report.check(fewest=800)
        assert set(load.report.generations()) == {1, 2, 3}
        assert load.report.sessions_closed.keys() == {1012}
        assert len(status(running)["workers"]) == 4


def test_without_a_new_parent_the_old_one_serves_on() -> None:
    with instance(workers=2) as running:
        running.server.expect_error("ZeroDivisionError")
        with steady_load(running.address) as load:
            load.wait_answers(100)
            before = status(running)
            running.write_text("1 / 0\n")
            mark = running.server.mark()
            running.signal(signal.SIGUSR2)
            running.server.wait_for_log("ZeroDivisionError", SECONDS, since=mark)
            load.wait_answers(300)
            after = status(running)
            assert after["instance"]["pid"] == before["instance"]["pid"]
            assert [one["pid"] for one in after["workers"]] == [one["pid"] for one in before["workers"]]
        load.report.check(fewest=400)
        assert set(load.report.generations()) == {1}
