"""`swell doctor`: what it reads, how it judges, and what it prints."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from swell.cli import doctor, main, version
from swell.cli.doctor import Check, checks
from swell.config import Config
from swell.supervisor.machine import Machine, cpu_quota, inspect, memory_limit

FINE = Machine(
    cores=4, cpu_quota=None, memory_total=8 << 30, memory_limit=None, files_soft=65536, files_hard=65536,
    somaxconn=4096, syn_backlog=4096, syn_cookies=True,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("SWELL_", "UVICORN_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "build_profile", lambda: "release")


def _lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def _by_name(config: Config, machine: Machine) -> dict[str, Check]:
    return {check.name: check for check in checks(config, machine)}


def test_cgroup_v2_takes_the_tightest_limit_on_the_way_up(tmp_path: Path) -> None:
    root = _lay_out(tmp_path, {
        "proc/self/cgroup": "0::/pod/box\n",
        "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
        "sys/fs/cgroup/pod/memory.max": "max\n",
        "sys/fs/cgroup/pod/box/memory.max": "536870912\n",
    })  # fmt: skip
    assert cpu_quota(root) == 1.5
    assert memory_limit(root) == 512 << 20


def test_cgroup_v2_inside_a_container_whose_path_is_the_hosts(tmp_path: Path) -> None:
    root = _lay_out(tmp_path, {
        "proc/self/cgroup": "0::/kubepods/pod1/abc\n",
        "sys/fs/cgroup/cpu.max": "50000 100000\n",
        "sys/fs/cgroup/memory.max": "1073741824\n",
    })  # fmt: skip
    assert (cpu_quota(root), memory_limit(root)) == (0.5, 1 << 30)


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_cgroup_v1(tmp_path: Path, folder: str) -> None:
    root = _lay_out(tmp_path, {
        "proc/self/cgroup": "4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n",
        f"sys/fs/cgroup/{folder}/box/cpu.cfs_quota_us": "200000\n",
        f"sys/fs/cgroup/{folder}/box/cpu.cfs_period_us": "100000\n",
        f"sys/fs/cgroup/{folder}/cpu.cfs_quota_us": "-1\n",
        f"sys/fs/cgroup/{folder}/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "268435456\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    })  # fmt: skip
    assert (cpu_quota(root), memory_limit(root)) == (2.0, 256 << 20)


def test_no_limit_and_no_files_are_not_known(tmp_path: Path) -> None:
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (None, None)
    machine = inspect(tmp_path)
    assert (machine.somaxconn, machine.syn_backlog, machine.syn_cookies, machine.memory_total) == (None,) * 4
    root = _lay_out(tmp_path, {
        "proc/self/cgroup": "0::/\nbroken\n",
        "sys/fs/cgroup/memory.max": "max\n",
        "proc/meminfo": "MemTotal:  1024 kB\nMemFree:  1 kB\n",
        "proc/sys/net/core/somaxconn": "128\n",
        "proc/sys/net/ipv4/tcp_syncookies": "1\n",
    })  # fmt: skip
    machine = inspect(root)
    assert (machine.memory_limit, machine.memory_total, machine.somaxconn) == (None, 1 << 20, 128)
    assert machine.syn_cookies is True


def test_inspecting_this_machine_gives_sane_numbers() -> None:
    machine = inspect()
    assert machine.cores >= 1
    assert 0 < machine.files_soft <= machine.files_hard


def test_a_fine_machine_has_nothing_to_change() -> None:
    for check in checks(Config(), FINE):
        assert check.status == "ok" or check.name in ("python", "build"), check


@pytest.mark.parametrize(
    ("change", "name", "advice"),
    [
        ({"cpu_quota": 0.5}, "cpu", "less than one CPU"),
        ({"memory_limit": 64 << 20}, "memory", "raise the limit"),
        ({"files_soft": 1024}, "open files", "LimitNOFILE=65536"),
        ({"somaxconn": 128}, "somaxconn", "net.core.somaxconn=2048"),
        ({"syn_backlog": 128, "syn_cookies": False}, "syn backlog", "tcp_max_syn_backlog"),
    ],
)
def test_a_tight_machine_gets_advice(change: dict[str, float], name: str, advice: str) -> None:
    check = _by_name(Config(), dataclasses.replace(FINE, **change))[name]  # type: ignore[arg-type]
    assert check.status == "warn"
    assert advice in check.advice


def test_a_quota_of_whole_cpus_is_fine_and_shown() -> None:
    check = _by_name(Config(), dataclasses.replace(FINE, cpu_quota=2.0))["cpu"]
    assert (check.status, check.value) == ("ok", "quota of 2 CPUs on 4 cores")


def test_answers_depend_on_the_options() -> None:
    assert _by_name(Config(backlog=100), dataclasses.replace(FINE, somaxconn=128))["somaxconn"].status == "ok"


def test_a_debug_build_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "build_profile", lambda: "debug")
    check = _by_name(Config(), FINE)["build"]
    assert (check.status, check.value) == ("warn", "debug")


def test_packages_that_the_options_need(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "log.yaml").touch()
    monkeypatch.setattr(doctor, "installed", lambda name: None)
    config = Config(app="m:a", reload=True, interface="wsgi", loop="uvloop", otel=True, log_config="log.yaml")
    found = _by_name(config, FINE)
    assert [found[name].status for name in ("loop", "reload", "wsgi", "otel", "yaml")] == ["fail"] * 5
    assert "swell[wsgi]" in found["wsgi"].advice
    monkeypatch.setattr(doctor, "installed", lambda name: "1.0")
    found = _by_name(Config(app="m:a", reload=True, interface="wsgi", loop="uvloop"), FINE)
    assert [found[name].value for name in ("loop", "reload", "wsgi")] == ["uvloop 1.0", "watchfiles 1.0", "a2wsgi 1.0"]


def test_exit_code_and_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "inspect", lambda: dataclasses.replace(FINE, files_soft=1024))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "warn  open files" in out
    assert "ok    build" in out

    assert main(["doctor", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["can_serve"] is True
    assert {check["name"] for check in data["checks"]} >= {"build", "python", "loop", "cpu", "memory", "open files"}


def test_without_the_native_module_it_cannot_serve(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> str:
        raise ImportError("No module named 'swell._core'", name="swell._core")

    monkeypatch.setattr(doctor, "build_profile", missing)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "fail  build" in out
    assert version.missing_core(ImportError("x")).split("(")[0] in out


def test_pools_and_the_maximum_of_the_database(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--workers", "8", "--pool-size", "15", "--database-max=90"]) == 0
    assert "warn  database" in capsys.readouterr().out
    assert main(["doctor", "--pool-size", "15"]) == 2
    assert "need each other" in capsys.readouterr().err
    assert main(["doctor", "--pool-size", "15", "--database-max", "many"]) == 2
    assert "--database-max must be a number" in capsys.readouterr().err


def test_wrong_options_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--prot", "1"]) == 2
    assert "did you mean --port?" in capsys.readouterr().err
