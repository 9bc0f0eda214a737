"""Who has ended, and who was meant: process ids are used again."""

from __future__ import annotations

import os
import sys
import time

import pytest
from support.kernel import wait_until

from swell.supervisor.reaper import Reaper, start_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="takes in orphans")


def ended_unasked(reaper: Reaper, code: int) -> int:
    """A process that has ended, and that nobody has asked for."""
    pid = start_process([sys.executable, "-S", "-c", f"raise SystemExit({code})"], ())

    def is_reaped() -> bool:
        reaper.reap()
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    wait_until(is_reaped, "it has ended")
    return pid


def test_the_news_of_a_start_may_come_after_the_news_of_the_end() -> None:
    reaper, statuses = Reaper(), list[int]()
    since = time.monotonic()
    pid = ended_unasked(reaper, 3)
    reaper.expect(pid, statuses.append, since)
    assert [os.waitstatus_to_exitcode(status) for status in statuses] == [3]


def test_the_end_of_an_earlier_process_with_the_same_id_is_not_taken() -> None:
    reaper, statuses = Reaper(), list[int]()
    pid = ended_unasked(reaper, 3)
    reaper.expect(pid, statuses.append, time.monotonic())
    assert statuses == []
