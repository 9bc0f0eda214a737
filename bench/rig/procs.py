"""Processes seen through /proc: the tree below one, its memory and descriptors (Linux only).

Knows nothing of servers or scenarios. Called by `servers`, `measure` and the soak.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def tree(root: int) -> list[int]:
    """The process and all its descendants that are alive now."""
    found: list[int] = []
    queue = [root]
    while queue:
        pid = queue.pop()
        try:
            tasks = list((PROC / str(pid) / "task").iterdir())
            children = [(task / "children").read_text() for task in tasks]
        except OSError:
            continue
        found.append(pid)
        queue.extend(int(child) for text in children for child in text.split())
    return found


@dataclass(frozen=True)
class Memory:
    """Bytes of a process tree; `pss` counts pages shared between its processes once."""

    rss: int
    pss: int


def memory(root: int) -> Memory:
    """Resident memory of the tree below `root`."""
    rss = pss = 0
    for pid in tree(root):
        try:
            rss += resident(pid)
            rollup = (PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        pss += next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return Memory(rss, pss)


def resident(pid: int) -> int:
    """Resident bytes of one process."""
    return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE_BYTES


def descriptors(root: int) -> int:
    """Open file descriptors of the tree below `root`."""
    count = 0
    for pid in tree(root):
        try:
            count += len(os.listdir(PROC / str(pid) / "fd"))
        except OSError:
            continue
    return count


def cpu_seconds(root: int) -> float:
    """User and system time of the tree below `root`, all threads."""
    ticks = 0
    for pid in tree(root):
        try:
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def machine_seconds() -> float:
    """What all processors together have done since the machine's start, taken by its host included. proc_stat(5)."""
    words = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    ticks = [int(word) for word in words]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def run_seconds(pids: Iterable[int]) -> float:
    """Time on a processor of these processes, all threads, in nanoseconds' resolution where ticks are too coarse."""
    total = 0
    for pid in pids:
        for task in (PROC / str(pid) / "task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9
