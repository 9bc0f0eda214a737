"""Memory of processes, and whether the kernel has run out of it.

Reads files below `root` only, so that tests can lay out any machine; None is "not known". Used by the parent.
"""

from __future__ import annotations

import os
from pathlib import Path

from swell.supervisor.machine import groups

__all__ = ["OutOfMemory", "resident", "show_size"]


def resident(pid: int, root: Path = Path("/")) -> int | None:
    """Resident memory of a process, in bytes. proc_pid_statm(5)."""
    try:
        words = (root / f"proc/{pid}/statm").read_text(encoding="ascii").split()
        return int(words[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


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
