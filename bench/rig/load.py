"""Runs the load generator (`bench/load`) on the client's core, for `measure`, `rotation`, `soak`; reads its result."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from rig.environment import LOAD, RigError
from rig.scenarios import Scenario

GRACE_SECONDS = 90.0


@dataclass(frozen=True)
class Result:
    """One window, as the load generator counted it. `per_second` and the latencies are of verified exchanges only."""

    completed: int
    seconds: float
    per_second: float
    server_cpu_us: float
    client_cpu_share: float
    p50_us: float
    p99_us: float
    faults: dict[str, int]

    @classmethod
    def from_json(cls, line: str) -> "Result":
        """Read the last line of a run."""
        raw: dict[str, Any] = json.loads(line)
        if raw["completed"] == 0 or raw["faults"] or raw["warmup_faults"]:
            early = f", {raw['warmup_faults']} in the warm-up" if raw["warmup_faults"] else ""
            faults = ", ".join(f"{count} {name}" for name, count in raw["faults"].items()) or "none"
            raise RigError(f"{raw['completed']} good exchanges; faults: {faults}{early}")
        return cls(
            completed=raw["completed"],
            seconds=raw["seconds"],
            per_second=raw["per_second"],
            server_cpu_us=raw["server_cpu_us_each"],
            client_cpu_share=raw["client_cpu_seconds"] / raw["seconds"],
            p50_us=raw["latency_us"]["p50"],
            p99_us=raw["latency_us"]["p99"],
            faults=raw["faults"],
        )


def _command(scenario: Scenario, address: str, core: int | str, options: Iterable[str]) -> list[str]:
    words = [str(LOAD), scenario.kind, "--address", address, "--connections", str(scenario.connections)]
    return ["taskset", "-c", str(core), *words, *scenario.load, *options]


def window(
    scenario: Scenario, address: str, core: int | str, watch: Iterable[int], seconds: float, warmup: float
) -> Result:
    """Measure one window. `core` is a number, or several as taskset takes them."""
    options = ["--seconds", str(seconds), "--warmup", str(warmup)]
    options += [word for pid in watch for word in ("--watch", str(pid))]
    words = _command(scenario, address, core, options)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        return result(process, seconds)


@contextlib.contextmanager
def stopped(scenario: Scenario, address: str, core: int | str, seconds: float) -> Iterator["subprocess.Popen[str]"]:
    """A load that ends `seconds` from now, and runs while it gets SIGCONT for the SIGSTOP that it got."""
    words = _command(scenario, address, core, ("--seconds", str(seconds), "--warmup", "0"))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.send_signal(signal.SIGSTOP)
        try:
            yield process
        finally:
            process.kill()


def result(process: "subprocess.Popen[str]", seconds: float = 0) -> Result:
    """What a load says that ends within `seconds`."""
    try:
        output, errors = process.communicate(timeout=seconds + GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise RigError("the load generator did not come to an end") from None
    if not output.strip():
        raise RigError(f"the load generator failed: {errors.strip()}")
    return Result.from_json(output.splitlines()[-1])


def paused(
    scenario: Scenario, address: str, core: int, options: Iterable[str], meanwhile: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Connect everything, call `meanwhile` while nothing moves, go on, and give the last line."""
    words = _command(scenario, address, core, options)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            meanwhile(_line(process.stdout))
            output, _ = process.communicate("go\n", timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            raise RigError("the load generator did not come to an end") from None
        finally:
            process.kill()
    last: dict[str, Any] = json.loads(output.splitlines()[-1])
    return last


def _line(stream: IO[str] | None) -> dict[str, Any]:
    text = stream.readline() if stream is not None else ""
    if not text:
        raise RigError("the load generator ended before it was ready")
    line: dict[str, Any] = json.loads(text)
    return line
