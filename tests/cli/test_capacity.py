"""`swell doctor`: whether the machine has what the workers that are asked for need."""

from __future__ import annotations

from typing import Any

import pytest

from swell.cli.capacity import capacity, clock, clock_cost_ns, clock_synchronised
from swell.cli.check import Check
from swell.config import Config
from swell.supervisor.machine import Machine, pids_limit

FACTS: dict[str, Any] = {
    "cores": 4, "cpu_quota": None, "memory_total": 8 << 30, "memory_limit": None, "files_soft": 65536,
    "files_hard": 65536, "somaxconn": 4096, "syn_backlog": 4096, "syn_cookies": True,
}  # fmt: skip


def seen(config: Config | None = None, **facts: Any) -> dict[str, Check]:
    return {check.name: check for check in capacity(config or Config.make("x:app"), Machine(**{**FACTS, **facts}))}


def test_workers_against_cpus() -> None:
    assert seen(Config.make("x:app", workers=4))["workers"] == Check("workers", "ok", "4 on 4 CPUs")
    hint = seen(Config.make("x:app", workers=1))["workers"]
    assert (hint.status, hint.advice[:14]) == ("ok", "--workers auto")
    crowd = seen(Config.make("x:app", workers=16))["workers"]
    assert crowd.status == "warn"
    assert "--workers 1..8" in crowd.advice
    boxed = seen(Config.make("x:app", workers=4), cores=64, cpu_quota=0.5)["workers"]
    assert (boxed.status, boxed.value) == ("warn", "4 on 0.5 CPUs")
    assert seen(Config.make("x:app", workers="auto"), cpu_quota=2.0)["workers"].value == "1..2 on 2 CPUs"


def test_memory_of_each_worker() -> None:
    assert "memory each" not in seen()
    four = Config.make("x:app", workers=4)
    assert seen(four)["memory each"].value == "2GiB for each of 4 workers"
    tight = seen(four, memory_limit=128 << 20)["memory each"]
    assert tight.status == "warn"
    assert "--workers 2" in tight.advice


def test_threads_of_pools_against_the_limit() -> None:
    many = Config.make("x:app", workers=4)
    fine = seen(many)["threads"]
    assert fine.status == "ok"
    assert "anyio 40" in fine.value
    assert "database" in fine.advice
    tight = seen(many, pids_limit=100)["threads"]
    assert tight.status == "warn"
    assert "TasksMax=" in tight.advice
    wsgi = seen(Config.make("x:app", interface="wsgi", wsgi_threads=7, workers=2))["threads"]
    assert wsgi.value == "WSGI 7 per worker; 14 in all"


@pytest.mark.parametrize(
    ("source", "cost", "synchronised", "status"),
    [
        ("tsc", 40, True, "ok"),
        ("tsc", 40, None, "ok"),
        (None, 900, None, "ok"),
        ("hpet", 900, True, "warn"),
        ("hpet", 40, True, "ok"),
        ("kvm-clock", 40, False, "warn"),
    ],
)
def test_the_clock(source: str | None, cost: int, synchronised: bool | None, status: str) -> None:
    check = clock(Machine(**FACTS, clock_source=source), cost, synchronised)
    assert check.status == status
    assert bool(check.advice) == (status == "warn")


def test_this_clock_can_be_looked_at() -> None:
    assert 0 < clock_cost_ns() < 1_000_000
    assert clock_synchronised() in (True, False, None)


def test_the_tightest_limit_of_threads(tmp_path: Any) -> None:
    for name, text in {
        "proc/self/cgroup": "0::/pod/box\n",
        "sys/fs/cgroup/pod/pids.max": "500\n",
        "sys/fs/cgroup/pod/box/pids.max": "max\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert pids_limit(tmp_path) == 500
    assert pids_limit(tmp_path / "nothing") is None
