"""System calls per exchange: a separate, short run under ``strace -c``, while the same load is on.

Tracing slows a server down many times, so nothing else is measured in this run. Called by `measure`.
"""

import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rig import load
from rig.environment import RigError
from rig.scenarios import Scenario
from rig.servers import Running

LIMIT_SECONDS = 20
# A thread that leaves between being listed and being attached must not hang the rig.
ATTACH_LINES = 200


@dataclass(frozen=True)
class SystemCalls:
    """System calls of the server's process tree per completed exchange, in all and by name (0.01 and more)."""

    each: float
    by_name: dict[str, float]


def parse_summary(text: str) -> dict[str, int]:
    """The calls by name from the table that ``strace -c`` writes."""
    calls: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[0].replace(".", "").isdigit() and fields[-1] != "total":
            calls[fields[-1]] = calls.get(fields[-1], 0) + int(fields[3])
    return calls


def count(scenario: Scenario, server: Running, core: int, requests: int) -> SystemCalls:
    """Trace `requests` exchanges of `scenario`; connections are made, and warm, before tracing starts."""
    if shutil.which("strace") is None:
        raise RigError("strace is missing: apt-get install strace, or give --no-syscalls")
    with TemporaryDirectory(prefix="swell-strace-") as name:
        summary = Path(name) / "summary"
        tracers: list[subprocess.Popen[str]] = []

        def attach(_ready: dict[str, Any]) -> None:
            pids = server.pids()
            words = ["strace", "-f", "-c", "-o", str(summary), *(word for pid in pids for word in ("-p", str(pid)))]
            tracer = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
            tracers.append(tracer)
            left = set(pids)
            for _ in range(ATTACH_LINES):
                line = tracer.stderr.readline() if tracer.stderr else ""
                if not line:
                    raise RigError("strace could not attach to the server (is ptrace permitted?)")
                left -= {pid for pid in left if f"Process {pid} attached" in line}
                if not left:
                    return

        options = ["--wait-start", "--warmup", "0.3", "--seconds", str(LIMIT_SECONDS), "--requests", str(requests)]
        try:
            result = load.paused(scenario, server.address, core, [*options, "--response-limit", "30"], attach)
        finally:
            for tracer in tracers:
                tracer.send_signal(signal.SIGINT)
                tracer.communicate(timeout=10)
        if result["completed"] == 0 or result["faults"]:
            raise RigError(f"under strace: {result['completed']} good exchanges, faults: {result['faults']}")
        calls = parse_summary(summary.read_text())
    completed = result["completed"]
    by_name = {name: round(number / completed, 3) for name, number in calls.items() if number / completed >= 0.01}
    ordered = dict(sorted(by_name.items(), key=lambda item: -item[1]))
    return SystemCalls(each=round(sum(calls.values()) / completed, 3), by_name=ordered)
