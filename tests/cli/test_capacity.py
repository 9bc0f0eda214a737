"""`swell doctor`: whether the machine has what the workers that are asked for need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swell.cli.capacity import Connections, capacity, clock, clock_cost_ns, clock_synchronised
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
    ("workers", "most", "status", "value", "advice"),
    [
        (2, 90, "ok", "2 × 15 = 30 of 90 connections", ""),
        (4, 90, "ok", "4 × 15 = 60 of 90 connections", "a reload has old and new workers side by side, with up to 120"),
        (8, 90, "warn", "8 × 15 = 120 of 90 connections", "it refuses what is beyond: --workers 6, a smaller pool"),
        (1, 10, "warn", "1 × 15 = 15 of 10 connections", "it refuses what is beyond: a smaller pool"),
        ("1..8", 240, "ok", "8 × 15 = 120 of 240 connections", ""),
        ("1..8", 90, "ok", "6 × 15 = 90 of 90 connections", "the budget holds the workers at 6; a reload"),
        ("7..8", 90, "warn", "7 × 15 = 105 of 90 connections", "it refuses what is beyond"),
    ],
)
def test_pools_against_the_maximum_of_the_database(
    workers: int | str, most: int, status: str, value: str, advice: str
) -> None:
    config = Config.make("x:app", workers=workers)
    found = {check.name: check for check in capacity(config, Machine(**FACTS), Connections(15, most))}
    check = found["database"]
    assert (check.status, check.value) == (status, value)
    assert advice in check.advice
    assert bool(check.advice) == bool(advice)
    assert not found["threads"].advice


def test_the_numbers_of_the_policy_are_taken(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("connections-per-worker = 15\nconnection-budget = 90\n")
    found = seen(Config.make("x:app", workers="1..4", scale_policy=str(policy)))
    assert found["database"].value == "4 × 15 = 60 of 90 connections"


def test_without_numbers_the_database_is_not_judged() -> None:
    assert "database" not in seen()


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


def test_the_tightest_limit_of_threads(tmp_path: Path) -> None:
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
