"""`kill -9` of a worker each second under load: what is lost is what that worker had in its hands, and no more."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from dataclasses import dataclass

import pytest
from support.kernel import wait_until
from support.steady import steady_load
from support.steady_report import Loss

from lifecycle.running import Instance, instance

KILLS = 20
# What may lie between the two counts: see below.
ODD = KILLS // 3
UNSEEN = 1
INTERVAL = 1.0
# The load's own thread may notice an end late when both cores are busy.
NOTICED = 5.0


@dataclass
class Kill:
    """A worker that was stopped, looked at, and killed, with what it held at that moment."""

    pid: int
    at: float
    requests: int
    sessions: int

    def explains(self, loss: Loss) -> bool:
        if loss.worker is not None:
            return loss.worker == self.pid
        return loss.began <= self.at + NOTICED and 0 <= loss.at - self.at <= NOTICED


def kill(running: Instance, victim: int) -> Kill:
    os.kill(victim, signal.SIGSTOP)
    stopped = f"/proc/{victim}/stat"

    def stands_still() -> bool:
        with open(stopped) as file:
            return file.read().rpartition(")")[2].split()[0] == "T"

    wait_until(stands_still, "the worker stands still")
    (slot,) = (slot for slot in running.workers() if slot["pid"] == victim)
    found = Kill(victim, time.monotonic(), slot["in_flight"], slot["websockets"])
    os.kill(victim, signal.SIGKILL)
    return found


@pytest.mark.timeout(150)
def test_a_worker_killed_each_second() -> None:
    rng = random.Random(7)
    kills: list[Kill] = []
    with instance() as running:
        with steady_load(running.address, seconds=100) as load:
            load.wait_answers(200)
            due = time.monotonic()
            for _ in range(KILLS):
                ready = running.wait_workers(4)
                kills.append(kill(running, rng.choice(ready)["pid"]))
                due = max(due + rng.uniform(0.8, 1.2) * INTERVAL, time.monotonic())
                load.wait(lambda report: time.monotonic() >= due, "the next second")  # noqa: B023 - called within
            running.wait_workers(4)
            load.wait_answers(200)
        report = load.report
        report.check(lost=len(report.lost), fewest=1000)
        unexplained = [loss for loss in report.lost if not any(one.explains(loss) for one in kills)]
        assert not unexplained, f"{unexplained[0]}\n{report}"
        # The counts match: what the workers held, as the scoreboard says, and what their clients miss. A request of
        # which not a byte had been read is no part of the first, nor is one that was read and not begun, or answered
        # and not sent; the last bytes of an answer may be on their way.
        sessions = [loss for loss in report.lost if loss.kind == "websocket"]
        requests = [loss for loss in report.lost if loss.kind != "websocket" and not loss.unread]
        assert len(sessions) == sum(one.sessions for one in kills), report
        assert -UNSEEN <= sum(one.requests for one in kills) - len(requests) <= ODD, f"{kills}\n{report}"
        assert len(report.lost) - len(sessions) - len(requests) <= ODD, f"unread on new connections\n{report}"
        deaths = re.findall(r"ERROR: worker \d+ .*died: SIGKILL.*", running.server.log)
        assert len(deaths) == KILLS
        counts = [re.search(r"; (\d+) requests? lost", line) for line in deaths]
        assert [int(found[1]) if found else 0 for found in counts] == [one.requests for one in kills]
        assert report.longest_silence() < 5.0, report
