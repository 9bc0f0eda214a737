"""How busy the machine or the container is: CPU, throttling and memory, between one look and the next.

Linux only: proc_stat(5), and `cpu.stat` of control groups v2 or v1. Reads files below `root`, so that tests can lay out
any machine; what does not exist is "not known", everywhere else than on Linux that is all. Knows no thresholds and no
clock. Called by the autoscaler, a few times a second: the files are found once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from swell.scaling import HostSample
from swell.supervisor.machine import groups, inspect

__all__ = ["Host"]

# Memory changes slowly and its file is long.
MEMORY_SECONDS = 5.0
# proc_stat(5): user nice system idle iowait irq softirq steal. Time that another virtual machine has taken is not free.
_IDLE = (3, 4)
_COUNTED = 8


@dataclass(frozen=True, slots=True)
class _Group:
    """A control group with a CPU limit: `quota` in CPUs, the files that count what it used."""

    quota: float
    stat: Path
    usage: Path | None  # v1 has it in a file of its own


@dataclass(frozen=True, slots=True)
class _Counted:
    """Counters at one moment. `group` is (CPU seconds, periods, throttled periods) of each group."""

    busy: float | None
    total: float
    groups: tuple[tuple[float, int, int] | None, ...]


class Host:
    """The machine as this process may use it: its CPUs, its control groups."""

    def __init__(self, root: Path = Path("/"), cpus: frozenset[int] | None = None) -> None:
        """`cpus` are those that this process may run on; found out, if not given."""
        machine = inspect(root)
        if cpus is None and hasattr(os, "sched_getaffinity"):
            cpus = frozenset(os.sched_getaffinity(0))
        self._cpus = cpus or frozenset()
        self._root = root
        self._stat = root / "proc/stat"
        self._groups = tuple(_limited(root))
        quotas = [group.quota for group in self._groups]
        self._cores = min([float(len(self._cpus) or machine.cores), *quotas])
        self._limit = min((size for size in (machine.memory_limit, machine.memory_total) if size), default=None)
        self._used: int | None = None
        self._used_for = MEMORY_SECONDS
        self._before = self._count()

    def sample(self, span: float) -> HostSample:
        """What there was since the last look, `span` seconds ago."""
        before, self._before = self._before, self._count()
        shares = [_machine(before, self._before)]
        throttled: list[float] = []
        for group, old, new in zip(self._groups, before.groups, self._before.groups, strict=True):
            if old is None or new is None or span <= 0:
                continue
            shares.append(max(0.0, (new[0] - old[0]) / (span * group.quota)))
            if new[1] > old[1]:
                throttled.append((new[2] - old[2]) / (new[1] - old[1]))
        known = [min(1.0, share) for share in shares if share is not None]
        self._used_for += span
        if self._used_for >= MEMORY_SECONDS:
            self._used, self._used_for = self._memory_used(), 0.0
        return HostSample(
            cpu=max(known, default=None),
            cores=self._cores,
            memory_limit=self._limit,
            memory_used=self._used,
            throttled=max(throttled, default=0.0) if self._groups else None,
        )

    def _count(self) -> _Counted:
        busy: float | None = None
        total = 0.0
        for line in _text(self._stat).splitlines():
            words = line.split()
            if not words or not words[0].startswith("cpu"):
                break
            if words[0] == "cpu" or not words[0][3:].isdigit() or int(words[0][3:]) not in self._cpus:
                continue
            ticks = [int(word) for word in words[1 : 1 + _COUNTED]]
            total += sum(ticks)
            busy = (busy or 0.0) + sum(ticks) - sum(ticks[index] for index in _IDLE)
        return _Counted(busy, total, tuple(map(_used_by, self._groups)))

    def _memory_used(self) -> int | None:
        for file in (*(group / "memory.current" for group in groups(self._root, "")),
                     *(group / "memory.usage_in_bytes" for group in groups(self._root, "memory"))):  # fmt: skip
            if (text := _text(file).strip()).isdigit():
                return int(text)
        sizes = dict(line.split(":", 1) for line in _text(self._root / "proc/meminfo").splitlines() if ":" in line)
        try:
            return (int(sizes["MemTotal"].split()[0]) - int(sizes["MemAvailable"].split()[0])) * 1024
        except (KeyError, ValueError, IndexError):
            return None


def _machine(before: _Counted, after: _Counted) -> float | None:
    """Iowait may go back, and CPUs may come and go: what makes no sense is not known."""
    if before.busy is None or after.busy is None or after.total <= before.total:
        return None
    return min(1.0, max(0.0, (after.busy - before.busy) / (after.total - before.total)))


def _limited(root: Path) -> list[_Group]:
    """The control groups around this process that have a limit."""
    found = []
    for group in groups(root, ""):
        words = _text(group / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            found.append(_Group(int(words[0]) / int(words[1]), group / "cpu.stat", None))
    for group in groups(root, "cpu"):
        quota, period = (_text(group / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
        if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0:
            found.append(_Group(int(quota) / int(period), group / "cpu.stat", group / "cpuacct.usage"))
    return found


def _used_by(group: _Group) -> tuple[float, int, int] | None:
    """CPU seconds, periods, throttled periods."""
    counters = dict(line.split() for line in _text(group.stat).splitlines() if line.count(" ") == 1)
    try:
        if group.usage is None:
            seconds = int(counters["usage_usec"]) / 1e6
        else:
            seconds = int(_text(group.usage)) / 1e9
        return seconds, int(counters.get("nr_periods", 0)), int(counters.get("nr_throttled", 0))
    except (KeyError, ValueError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
