"""What this machine or container grants a process: CPUs, memory, descriptors, and the kernel's queues.

Reads files below `root` only, so that tests can lay out any machine; a file that does not exist means "not known".
Knows no thresholds: `swell doctor` judges, the parent counts its workers by it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "cpu_quota", "groups", "inspect", "memory_limit", "pids_limit", "usable_cores"]

# cgroup v1 has no word for "unlimited": the limit is then the largest multiple of a page in 63 bits
_UNLIMITED = 1 << 60


@dataclass(frozen=True, slots=True)
class Machine:
    """`None` is unlimited or not known. `cores` are those this process may run on, `cpu_quota` is in CPUs."""

    cores: int
    cpu_quota: float | None
    memory_total: int | None
    memory_limit: int | None
    files_soft: int
    files_hard: int
    somaxconn: int | None
    syn_backlog: int | None
    syn_cookies: bool | None
    pids_limit: int | None = None
    clock_source: str | None = None


def inspect(root: Path = Path("/")) -> Machine:
    """Looks at everything once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    cookies = _number(root / "proc/sys/net/ipv4/tcp_syncookies")
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        cpu_quota=cpu_quota(root),
        memory_total=_memory_total(root),
        memory_limit=memory_limit(root),
        files_soft=soft if soft != resource.RLIM_INFINITY else _UNLIMITED,
        files_hard=hard if hard != resource.RLIM_INFINITY else _UNLIMITED,
        somaxconn=_number(root / "proc/sys/net/core/somaxconn"),
        syn_backlog=_number(root / "proc/sys/net/ipv4/tcp_max_syn_backlog"),
        syn_cookies=None if cookies is None else cookies > 0,
        pids_limit=pids_limit(root),
        clock_source=_text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource").strip() or None,
    )


def usable_cores(root: Path = Path("/")) -> int:
    """The cores that this process may use: those it may run on, or fewer where a quota says so. At least 1."""
    found = inspect(root)
    return found.cores if found.cpu_quota is None else max(1, min(found.cores, int(found.cpu_quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The tightest CPU limit of the control groups around this process, in CPUs."""
    quotas = []
    for group in groups(root, ""):
        words = _text(group / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    for group in groups(root, "cpu"):
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if quota is not None and period and quota > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """The tightest memory limit of the control groups around this process, in bytes."""
    limits = [_number(group / "memory.max") for group in groups(root, "")]
    limits += [_number(group / "memory.limit_in_bytes") for group in groups(root, "memory")]
    return min((limit for limit in limits if limit is not None and limit < _UNLIMITED), default=None)


def pids_limit(root: Path = Path("/")) -> int | None:
    """The tightest limit of processes and threads of the control groups around this process."""
    limits = [_number(group / "pids.max") for controller in ("", "pids") for group in groups(root, controller)]
    return min((limit for limit in limits if limit is not None), default=None)


def groups(root: Path, controller: str) -> Iterator[Path]:
    """The directories from our own group up to the top, of cgroup v1's `controller`, or of v2 if it is empty.

    In a container the path often names the host's view, whose directories are not mounted: what exists is taken.
    """
    tops = {
        "": ("sys/fs/cgroup", "sys/fs/cgroup/unified"),
        "cpu": ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"),
        "memory": ("sys/fs/cgroup/memory",),
        "pids": ("sys/fs/cgroup/pids",),
    }[controller]
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controller not in controllers.split(","):
            continue
        for top in tops:
            parts = [part for part in path.split("/") if part not in ("", "..")]
            for depth in range(len(parts), -1, -1):
                yield (root / top).joinpath(*parts[:depth])
        return


def _memory_total(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "MemTotal:":
            return int(words[1]) * 1024
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None
