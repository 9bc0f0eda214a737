"""When a healthy worker is replaced, with a fake clock; and what control groups say about memory."""

import os
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from swell.config import Config
from swell.supervisor.memory import OutOfMemory, available, resident
from swell.supervisor.recycle import Lifetime, Recycler, Verdict
from swell.supervisor.workers import Worker

MIB = 1 << 20


def test_without_limits_a_worker_lives_for_ever() -> None:
    life = Lifetime(None, None, 0.0, 50 * MIB)
    assert life.judge(1e9, 1 << 40, 0) is None


@pytest.mark.parametrize(("jitter", "due"), [(-1.0, 900.0), (0.0, 1000.0), (1.0, 1100.0)])
def test_age_has_a_jitter_of_a_tenth(jitter: float, due: float) -> None:
    life = Lifetime(1000.0, None, jitter, None)
    assert life.judge(due - 1, 0, 0) is None
    verdict = life.judge(due, 0, 0)
    assert verdict == Verdict(f"it is {due:.0f} s old (--limit-max-age)")


def test_age_waits_for_an_idle_moment_but_not_for_ever() -> None:
    life = Lifetime(1000.0, None, 0.0, None)
    assert life.judge(1000.0, 0, 3) is None
    assert life.judge(1029.9, 0, 1) is None
    assert life.judge(1030.0, 0, 1) is not None
    short = Lifetime(10.0, None, 0.0, None)
    assert short.judge(10.5, 0, 1) is None
    assert short.judge(10.5, 0, 0) is not None
    assert short.judge(11.0, 0, 1) is not None


def test_a_worker_that_has_served_enough_requests_waits_for_a_tenth_of_its_life() -> None:
    life = Lifetime(None, None, 0.0, None)
    life.ask("limit_max_requests is reached", 20.0)
    assert life.judge(20.0, 0, 5) is None
    assert life.judge(21.0, 0, 0) == Verdict("limit_max_requests is reached")
    assert life.judge(22.0, 0, 5) == Verdict("limit_max_requests is reached")


def test_memory_is_gentle_up_to_one_and_a_half_times_the_limit() -> None:
    life = Lifetime(None, 256 * MIB, 0.0, 100 * MIB)
    assert life.judge(5.0, 256 * MIB, 0) is None
    gentle = life.judge(5.0, 312 * MIB, 9)
    assert gentle == Verdict("resident memory 312 MiB > 256 MiB (--limit-max-rss)")
    forced = life.judge(5.0, 400 * MIB, 9)
    assert forced == Verdict("resident memory 400 MiB > 1.5 × 256 MiB (--limit-max-rss)", force=True)


def test_a_limit_below_what_the_application_needs_has_no_effect() -> None:
    """Each successor would be as large: workers would be replaced without an end."""
    life = Lifetime(None, 64 * MIB, 0.0, 80 * MIB)
    assert life.too_small
    assert life.judge(5.0, 500 * MIB, 0) is None


class FakeParent:
    def __init__(self) -> None:
        self.retired: list[str] = []
        self.condemned: list[tuple[str, float | None]] = []

    def retire(self, worker: Worker, why: str) -> None:
        self.retired.append(why)

    def condemn(self, worker: Worker, why: str, seconds: float | None) -> None:
        self.condemned.append((why, seconds))
        worker.condemned = why


class FakeWorker:
    id, pid, name, started, condemned = 1, None, "worker 1", 100.0, ""


def seen(rss: int = 0, in_flight: int = 0) -> dict[str, Any]:
    return {"rss_bytes": rss, "in_flight": in_flight, "current": None, "waiting": []}


def recycler(**options: object) -> tuple[Recycler, FakeParent, Worker]:
    parent, worker = FakeParent(), cast(Worker, FakeWorker())
    made = Recycler(Config.make("app:app", **options), parent)
    made.is_ready(worker)
    return made, parent, worker


def test_the_recycler_retires_at_an_idle_moment() -> None:
    made, parent, worker = recycler(limit_max_requests=100)
    made.asked(worker, "limit_max_requests is reached", seen(in_flight=2), 110.0)
    assert not parent.retired
    made.look(worker, seen(), 110.5)
    assert parent.retired == ["limit_max_requests is reached"]


def test_the_recycler_uses_force_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swell.supervisor.recycle.log.propagate", True)
    made, parent, worker = recycler(limit_max_rss="64MiB")
    made.look(worker, seen(200 * MIB, in_flight=1), 110.0)
    made.look(worker, seen(220 * MIB, in_flight=1), 111.0)
    assert [why for why, _ in parent.condemned] == ["resident memory 200 MiB > 1.5 × 64 MiB (--limit-max-rss)"]
    assert not parent.retired
    assert [r.message for r in caplog.records] == [
        "worker 1 is to be replaced by force: resident memory 200 MiB > 1.5 × 64 MiB (--limit-max-rss)"
        "; it serves 1 request"
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_a_process_is_known_while_it_lives() -> None:
    size = resident(os.getpid())
    assert size is not None
    assert size > MIB
    assert resident(2**22 + 1) is None  # beyond the largest process id


@pytest.mark.parametrize(
    ("line", "directory", "name"),
    [
        ("0::/app.slice/swell.service", "sys/fs/cgroup/app.slice/swell.service", "memory.events"),
        ("4:memory:/docker/abc", "sys/fs/cgroup/memory/docker/abc", "memory.oom_control"),
        ("4:memory:/docker/abc", "sys/fs/cgroup/memory", "memory.oom_control"),  # inside of the container
    ],
)
def test_control_groups_count_what_the_kernel_has_killed(tmp_path: Path, line: str, directory: str, name: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"{line}\n")
    group = tmp_path / directory
    group.mkdir(parents=True)
    (group / name).write_text("low 0\noom 3\noom_kill 2\n")
    counter = OutOfMemory(tmp_path)
    assert not counter.happened()
    (group / name).write_text("low 0\noom 4\noom_kill 3\n")
    assert counter.happened()
    assert not counter.happened()
    (group / name).unlink()
    assert not counter.happened()


def test_memory_that_is_left_is_the_least_of_what_each_limit_leaves(tmp_path: Path) -> None:
    assert available(tmp_path) is None
    for name, text in {
        "proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    4000 kB\n",
        "proc/self/cgroup": "0::/shop/web\n",
        "sys/fs/cgroup/shop/web/memory.max": "max\n",
        "sys/fs/cgroup/shop/web/memory.current": "7000000\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available(tmp_path) == 4000 * 1024
    above = tmp_path / "sys/fs/cgroup/shop"
    (above / "memory.max").write_text("8000000\n")
    (above / "memory.current").write_text("7500000\n")
    (above / "memory.stat").write_text("anon 5000000\nfile 2500000\ninactive_file 1000000\n")
    assert available(tmp_path) == 1_500_000
    (above / "memory.current").write_text("9500000\n")
    assert available(tmp_path) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine_has_memory_left() -> None:
    assert (available() or 0) > MIB
