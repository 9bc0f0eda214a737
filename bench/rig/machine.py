"""What the figures were measured on, without names or places of the machine. Called by `run.py` and `soak.py`."""

import os
import platform
import resource
import subprocess
from pathlib import Path

from rig.environment import ROOT, RigError
from rig.servers import FILES

IDENTITY = ("crates", "src", "pyproject.toml", "Cargo.toml", "Cargo.lock")


def describe() -> dict[str, str | int | bool]:
    """Processor, cores, memory, kernel, distribution."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "?")
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    try:
        governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        governor = "not visible"
    return {
        "cpu": model,
        "cores": os.cpu_count() or 0,
        "memory_gb": round(memory_kb / 1024 / 1024),
        "virtual": "hypervisor" in cpuinfo,
        "governor": governor,
        "kernel": platform.release().partition("-")[0],
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "?"),
        "somaxconn": int(Path("/proc/sys/net/core/somaxconn").read_text()),
    }


def commit() -> dict[str, str | bool]:
    """The commit of the checkout, and whether the sources of Swell differ from it."""

    def git(*words: str) -> str:
        run = subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, check=False)
        return run.stdout.strip() if run.returncode == 0 else ""

    return {
        "commit": git("rev-parse", "--short=10", "HEAD") or "unknown",
        "changed": bool(git("status", "--porcelain", "--", *IDENTITY)),
    }


def load_average() -> float:
    """Processes that wanted to run in the last minute."""
    return round(os.getloadavg()[0], 2)


def choose_cores(server: int | None, client: int | None) -> tuple[int, int]:
    """Two different cores, and not two threads of one core where that can be seen and avoided."""
    allowed = sorted(os.sched_getaffinity(0))
    for core in (server, client):
        if core is not None and core not in allowed:
            raise RigError(f"core {core} is not available: choose from {allowed}")
    if len(allowed) < 2:
        raise RigError("two cores are needed: one for the server, one for the load generator")
    server = server if server is not None else next(core for core in allowed if core != client)
    if client is None:
        others = [core for core in allowed if core != server]
        client = next((core for core in others if core not in _siblings(server)), others[0])
    if server == client:
        raise RigError("server and load generator need different cores")
    return server, client


def _siblings(core: int) -> set[int]:
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return {core}
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def raise_file_limit() -> int:
    """Allow this process and its children as many descriptors as the idle scenario needs, if we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (FILES, hard):
        if wanted <= soft:
            return soft
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
        except (ValueError, OSError):
            continue
        return wanted
    return soft
