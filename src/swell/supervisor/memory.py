"""Memory of processes, and whether the kernel has run out of it.

Reads files below `root` only, so that tests can lay out any machine; None is "not known". Used by the parent.
"""

from __future__ import annotations

import os
from pathlib import Path

from swell.supervisor.machine import groups

__all__ = ["OutOfMemory", "available", "resident", "show_size"]


def resident(pid: int, root: Path = Path("/")) -> int | None:
    """Resident memory of a process, in bytes. proc_pid_statm(5)."""
    try:
        words = (root / f"proc/{pid}/statm").read_text(encoding="ascii").split()
        return int(words[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def available(root: Path = Path("/")) -> int | None:
    """What may still be used before the kernel has to kill somebody, in bytes: of the machine, and of every control
    group around this process. File pages that nobody has used lately count, as they are given up first."""
    room = [size * 1024 for size in _sizes(root / "proc/meminfo", "MemAvailable:")]
    for controller, limit, used, cache in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for group in groups(root, controller):
            limits, uses = _sizes(group / limit), _sizes(group / used)
            if limits and uses:
                room.append(limits[0] - uses[0] + sum(_sizes(group / "memory.stat", cache)))
    return max(0, min(room)) if room else None


def _sizes(file: Path, name: str | None = None) -> list[int]:
    """The number in a file, or those behind a name; none for `max` and for what is not there."""
    try:
        lines = [line.split() for line in file.read_text(encoding="ascii", errors="replace").splitlines()]
    except OSError:
        return []
    words = (
        [line[1] for line in lines if len(line) > 1 and line[0] == name] if name else [*lines[0][:1]] if lines else []
    )
    return [int(word) for word in words if word.isdigit()]


def show_size(size: int) -> str:
    """In MiB: `312 MiB`."""
    return f"{size / (1 << 20):.0f} MiB"


class OutOfMemory:
    """Tells a process that the kernel killed for want of memory from one that somebody killed: control groups count.

    cgroup v2 `memory.events`, v1 `memory.oom_control`, both with a line `oom_kill N`.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._files = [group / "memory.events" for group in groups(root, "")]
        self._files += [group / "memory.oom_control" for group in groups(root, "memory")]
        self._seen = self._count()

    def happened(self) -> bool:
        """Whether the kernel has killed a process of our group since this was last asked."""
        before, self._seen = self._seen, self._count()
        return before is not None and self._seen is not None and self._seen > before

    def _count(self) -> int | None:
        """That of the group nearest to us which counts."""
        for file in self._files:
            try:
                lines = file.read_text(encoding="ascii").splitlines()
            except (OSError, ValueError):
                continue
            for line in lines:
                name, _, number = line.partition(" ")
                if name == "oom_kill" and number.isdigit():
                    return int(number)
        return None
