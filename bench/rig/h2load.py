"""Runs nghttp2's h2load on the client's core, as `load` runs our own generator for HTTP/1.1. Called by `measure`.

It counts requests, those answered with 2xx and the bytes of their bodies, and writes down how long each took.
"""

import re
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from rig import procs
from rig.environment import RigError
from rig.load import GRACE_SECONDS, Result
from rig.scenarios import Scenario

FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s), ([\d.]+) req/s")
BODIES = re.compile(r"\((\d+)\) data")
BODY_BYTES = len("Hello, World!")
REQUESTS = re.compile(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded")
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
SMALLEST = 2000


def _run(
    scenario: Scenario, address: str, core: int | str, requests: int, log: Path | None = None
) -> tuple[float, int]:
    """Seconds, and requests that were answered with 2xx."""
    h2load = shutil.which("h2load")
    if h2load is None:
        raise RigError("h2load is missing (Debian: nghttp2-client)")
    words = ["taskset", "-c", str(core), h2load, "-c", str(scenario.connections), "-n", str(requests), *scenario.load]
    words += ["--log-file", str(log)] if log else []
    try:
        run = subprocess.run(
            [*words, f"http://{address}/"], capture_output=True, text=True, timeout=GRACE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise RigError("h2load did not come to an end") from None
    finished, counted, bodies = (form.search(run.stdout) for form in (FINISHED, REQUESTS, BODIES))
    whole = bodies is not None and int(bodies[1]) == requests * BODY_BYTES
    if finished is None or counted is None or counted[2] != str(requests) or not whole:
        raise RigError(f"h2load: {counted[0] if counted else run.stderr.strip()[-200:]}")
    return float(finished[1]) * UNITS[finished[2]], int(counted[2])


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def window(
    scenario: Scenario, address: str, core: int | str, watch: Iterable[int], seconds: float, warmup: float
) -> Result:
    """Measure about so many seconds: as many requests as the warm-up says."""
    pids = list(watch)
    rate, tried = 0.0, SMALLEST
    deadline = time.monotonic() + warmup
    while not rate or time.monotonic() < deadline:
        took, done = _run(scenario, address, core, tried)
        rate = done / took
        tried = max(SMALLEST, int(rate * warmup / 2))
    with TemporaryDirectory(prefix="swell-h2load-") as directory:
        log = Path(directory) / "log"
        before = procs.run_seconds(pids)
        client = _children_seconds()
        took, done = _run(scenario, address, core, max(SMALLEST, int(rate * seconds)), log)
        cpu = procs.run_seconds(pids) - before
        client = _children_seconds() - client
        latencies = [float(line.split("\t")[2]) for line in log.read_text().splitlines()]
    cuts = statistics.quantiles(latencies, n=100)
    return Result(
        completed=done,
        seconds=took,
        per_second=done / took,
        server_cpu_us=cpu / done * 1e6,
        client_cpu_share=client / took,
        p50_us=cuts[49],
        p99_us=cuts[98],
        faults={},
    )
