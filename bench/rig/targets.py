"""What Swell sets out to reach, as ratios within one run, and whether a result reaches it. Called by `run.py`."""

from dataclasses import dataclass
from typing import Any, Literal

SWELLS = ("swell-asyncio", "swell-uvloop")
PYTHON_PEERS = ("uvicorn", "granian", "gunicorn", "hypercorn", "fastpysgi")
Measure = Literal["cpu_us", "per_second", "syscalls", "bytes_per_connection", "idle_cpu_share"]


@dataclass(frozen=True)
class Target:
    """`measure` of Swell in `scenario` is at most (`at_least`: at least) `limit` times that of `peer`, or `limit`."""

    scenario: str
    measure: Measure
    limit: float
    peer: str | None = None
    at_least: bool = False


TARGETS = (
    Target("get", "cpu_us", 1 / 2, "uvicorn"),
    Target("get", "cpu_us", 1 / 2.2, "granian"),
    Target("get", "cpu_us", 1.25, "nginx"),
    Target("get", "syscalls", 2.2),
    Target("get-browser", "cpu_us", 1 / 2.3, "uvicorn"),
    Target("suspend", "cpu_us", 1 / 2, "uvicorn"),
    Target("post-1k", "cpu_us", 1 / 2, "uvicorn"),
    Target("post-64k", "cpu_us", 1 / 1.5, "uvicorn"),
    Target("ws-echo", "cpu_us", 1 / 2, "uvicorn"),
    Target("http2", "cpu_us", 1 / 8, "hypercorn"),
    Target("http2", "cpu_us", 1 / 1.5, "granian"),
    *(Target("fastapi", "cpu_us", 1.0, peer) for peer in PYTHON_PEERS),
    Target("connect", "per_second", 2.0, "uvicorn", at_least=True),
    Target("idle", "bytes_per_connection", 2048),
    Target("idle", "idle_cpu_share", 0.005),
)


def judge(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each target that these rows can decide."""
    found = {(row["scenario"], row["server"]): row for row in rows if not row["failure"]}
    lines = []
    for target in TARGETS:
        for name in SWELLS:
            own = found.get((target.scenario, name), {}).get(target.measure)
            other = found.get((target.scenario, target.peer), {}).get(target.measure) if target.peer else 1.0
            if own is None or not other:
                continue
            value = own / other
            reached = value >= target.limit if target.at_least else value <= target.limit
            word, sign = ("reached", "≥" if target.at_least else "≤") if reached else ("MISSED ", "of")
            against = f" of {target.peer}'s" if target.peer else ""
            figures = f"{target.measure} {value:.3g}{against} ({sign} {target.limit:.3g})"
            lines.append(f"{word}  {target.scenario:12} {name:14} {figures}")
    return lines
