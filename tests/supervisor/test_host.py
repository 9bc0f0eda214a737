"""The machine and its control groups, on machines laid out in files. proc_stat(5), cgroups v2 and v1."""

from __future__ import annotations

from pathlib import Path

import pytest

from swell.supervisor.host import Host

MIB = 1 << 20


class Machine:
    """Files below a root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cpus: dict[int, list[int]] = {0: [0] * 8, 1: [0] * 8}
        self.write("proc/meminfo", f"MemTotal: {1024 * 1024} kB\nMemFree: 1 kB\nMemAvailable: {768 * 1024} kB\n")
        self.pass_time()

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def pass_time(self, user: int = 0, idle: int = 0, *, cpu: int = 0, iowait: int = 0, steal: int = 0) -> None:
        """So many ticks on one CPU."""
        for index, ticks in ((0, user), (3, idle), (4, iowait), (7, steal)):
            self.cpus[cpu][index] += ticks
        rows = [f"cpu{number} {' '.join(map(str, row))} 0 0" for number, row in self.cpus.items()]
        self.write("proc/stat", "\n".join(["cpu  9 9 9 9 9 9 9 9 9 9", *rows, "intr 12345 1 2 3", "ctxt 1"]) + "\n")

    def v2(self, *, usage: int, periods: int = 0, throttled: int = 0, limit: str = "50000 100000") -> None:
        self.write("proc/self/cgroup", "0::/app\n")
        self.write("sys/fs/cgroup/app/cpu.max", limit + "\n")
        self.write(
            "sys/fs/cgroup/app/cpu.stat",
            f"usage_usec {usage}\nuser_usec 1\nnr_periods {periods}\nnr_throttled {throttled}\n",
        )
        self.write("sys/fs/cgroup/app/memory.max", f"{512 * MIB}\n")
        self.write("sys/fs/cgroup/app/memory.current", f"{100 * MIB}\n")

    def v1(self, *, usage: int, periods: int, throttled: int) -> None:
        self.write("proc/self/cgroup", "4:cpu,cpuacct:/app\n3:memory:/app\n")
        self.write("sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "200000\n")
        self.write("sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us", "100000\n")
        self.write("sys/fs/cgroup/cpu,cpuacct/app/cpuacct.usage", f"{usage * 1000}\n")
        self.write("sys/fs/cgroup/cpu,cpuacct/app/cpu.stat", f"nr_periods {periods}\nnr_throttled {throttled}\n")
        self.write("sys/fs/cgroup/memory/app/memory.limit_in_bytes", f"{256 * MIB}\n")
        self.write("sys/fs/cgroup/memory/app/memory.usage_in_bytes", f"{64 * MIB}\n")

    def host(self, *cpus: int) -> Host:
        return Host(self.root, frozenset(cpus or (0, 1)))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_share_of_the_time_that_was_not_idle(machine: Machine) -> None:
    host = machine.host()
    machine.pass_time(user=30, idle=10)
    machine.pass_time(user=0, idle=30, iowait=10, cpu=1)
    seen = host.sample(0.4)
    assert seen.cpu == pytest.approx(30 / 80)
    assert (seen.cores, seen.throttled) == (2, None)
    assert (seen.memory_limit, seen.memory_used) == (1024 * MIB, 256 * MIB)
    machine.pass_time(idle=40)
    assert host.sample(0.4).cpu == 0


def test_only_the_cpus_that_we_may_run_on_count(machine: Machine) -> None:
    host = machine.host(1)
    machine.pass_time(user=40, cpu=0)
    machine.pass_time(user=10, idle=30, cpu=1)
    seen = host.sample(0.4)
    assert seen.cpu == pytest.approx(0.25)
    assert seen.cores == 1


def test_time_that_another_virtual_machine_takes_is_not_free(machine: Machine) -> None:
    host = machine.host(0)
    machine.pass_time(user=10, steal=20, idle=10)
    assert host.sample(0.4).cpu == pytest.approx(0.75)


def test_counters_that_go_back_say_nothing(machine: Machine) -> None:
    host = machine.host(0)
    machine.pass_time(user=-10)
    assert host.sample(0.4).cpu is None


def test_a_container_is_tighter_than_its_machine(machine: Machine) -> None:
    machine.v2(usage=0)
    host = machine.host()
    machine.pass_time(user=10, idle=70)
    machine.v2(usage=180_000, periods=4, throttled=1)
    seen = host.sample(0.4)
    assert seen.cpu == pytest.approx(0.18 / (0.4 * 0.5))
    assert seen.cores == 0.5
    assert seen.throttled == 0.25
    assert (seen.memory_limit, seen.memory_used) == (512 * MIB, 100 * MIB)


def test_a_full_machine_is_tighter_than_an_idle_container(machine: Machine) -> None:
    machine.v2(usage=0)
    host = machine.host()
    machine.pass_time(user=40)
    machine.pass_time(user=40, cpu=1)
    assert host.sample(0.4).cpu == 1


def test_no_period_has_passed(machine: Machine) -> None:
    machine.v2(usage=0)
    assert machine.host().sample(0.4).throttled == 0


def test_more_than_the_quota_is_all_of_it(machine: Machine) -> None:
    machine.v2(usage=0)
    host = machine.host()
    machine.v2(usage=900_000)
    assert host.sample(0.4).cpu == 1


def test_control_groups_of_version_1(machine: Machine) -> None:
    machine.v1(usage=0, periods=10, throttled=10)
    host = machine.host()
    machine.v1(usage=400_000, periods=20, throttled=15)
    seen = host.sample(0.4)
    assert seen.cpu == pytest.approx(0.5)
    assert seen.cores == 2
    assert seen.throttled == 0.5
    assert (seen.memory_limit, seen.memory_used) == (256 * MIB, 64 * MIB)


def test_a_group_without_a_limit_limits_nothing(machine: Machine) -> None:
    machine.v2(usage=0, limit="max 100000")
    seen = machine.host().sample(0.4)
    assert (seen.cores, seen.throttled) == (2, None)


def test_memory_is_looked_at_now_and_then(machine: Machine) -> None:
    machine.v2(usage=0)
    host = machine.host()
    assert host.sample(0.4).memory_used == 100 * MIB
    machine.write("sys/fs/cgroup/app/memory.current", f"{200 * MIB}\n")
    assert host.sample(0.4).memory_used == 100 * MIB
    assert host.sample(5.0).memory_used == 200 * MIB


def test_without_any_of_these_files_nothing_is_known(tmp_path: Path) -> None:
    seen = Host(tmp_path, frozenset({0})).sample(0.4)
    assert (seen.cpu, seen.memory_limit, seen.memory_used, seen.throttled) == (None, None, None, None)
    assert seen.cores == 1
