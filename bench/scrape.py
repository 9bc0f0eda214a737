"""What a scrape of many workers costs, and what traces cost. ``python bench/scrape.py --help``.

A scrape of 16 workers is measured before and after 64 workers have ended, and reading the scoreboard of 8 workers, as
the parent does for the autoscaler and for each command; requests are measured without traces and with traces that are
sampled and sent to a receiver. What is quoted is CPU time of the server, of all its processes; the clients have another
core. What being watched all the time costs is measured by `observed.py`.
"""

import contextlib
import http.client
import json
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from rig import environment, load, procs, servers, short
from rig.environment import PYTHON, RigError, say
from rig.scenarios import BY_NAME as SCENARIOS
from rig.servers import BY_NAME, HOST, Running, with_admin, with_options

WORKERS, ROUTES, CONNECTIONS, SCRAPES, RELOADS = 16, 60, 320, 200, 4
READY_SECONDS = 60.0
# The scoreboard: so many workers, read so often, within so many microseconds.
READ_WORKERS, READINGS, READING_AIM_US = 8, 5000, 200
READER = """
import json, statistics, sys, time
from swell._core import Scoreboard
path, workers, readings = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
board, took = Scoreboard(path), []
for _ in range(readings):
    begun = time.perf_counter()
    seen = [board.read(slot) for slot in range(workers)]
    took.append((time.perf_counter() - begun) * 1e6)
assert [slot["state"] for slot in seen] == ["ready"] * workers, seen
print(json.dumps({"p50_us": statistics.median(took), "p99_us": statistics.quantiles(took, n=100)[98]}))
"""


@dataclass(frozen=True)
class Variant:
    """How requests are traced. `sampled` is the share of them that is recorded; None: no traces."""

    name: str
    title: str
    options: tuple[str, ...] = ()
    sampled: str | None = None


VARIANTS = (
    Variant("off", "without `--otel`"),
    Variant("otel-none", "`--otel`, nothing recorded", ("--otel",), sampled="0"),
    Variant("otel-some", "`--otel`, one of twenty recorded", ("--otel",), sampled="0.05"),
    Variant("otel-all", "`--otel`, every request recorded and sent", ("--otel",), sampled="1"),
)


def main() -> int:
    """Measures, prints, keeps the result."""
    given = short.parse("scrape", "Measure scrapes and traces.", rounds=5)
    try:
        server_core, client_core = short.prepare(given)
        packages = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
        environment.install(*packages, failure="OpenTelemetry could not be installed:")
        scrape = scrapes(server_core)
        board = reading(server_core)
        requests = per_request(server_core, client_core, given.rounds, given.seconds)
    except RigError as error:
        say(f"bench/scrape.py: {error}")
        return 1
    print(report(scrape, board, requests))
    if not given.no_store:
        short.keep("scrape", scrape=scrape, board=board, requests=requests)
    return 0


@contextlib.contextmanager
def serving(
    core: int, app: str, *options: str, variables: Sequence[str] = (), runtime: Path | None = None
) -> Iterator[tuple[Running, int]]:
    """Swell with these options, and the port of its admin interface. `runtime` is for the instance's files."""
    admin = servers.free_port()

    swell = with_options(with_admin(BY_NAME["swell-uvloop"], admin), *options)

    def command(app: str, port: int, directory: Path) -> Sequence[str | Path]:
        places = ("--runtime-dir", runtime or directory, "--state-dir", directory)
        return ["env", *variables, *swell.command(app, port, directory), *places]

    with servers.running(replace(swell, command=command), app, core) as server:
        yield server, admin


def ask(port: int, method: str, path: str) -> bytes:
    """The body of a good answer of the admin interface."""
    connection = http.client.HTTPConnection(HOST, port, timeout=READY_SECONDS)
    with contextlib.closing(connection):
        connection.request(method, path, headers={"Swell-Admin": "1"})
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != 200:
        raise RigError(f"{path}: {answer.status} {body[:200]!r}")
    return body


def scrapes(core: int) -> dict[str, dict[str, float]]:
    """A scrape of many workers that each tell many routes apart, and the same after many have ended."""
    say(f"a scrape of {WORKERS} workers")
    found = {}
    with serving(core, "bench_routes:app", "--workers", str(WORKERS)) as (server, admin):
        for name, reloads in (("fresh", 0), ("later", RELOADS)):
            for _ in range(reloads):
                ask(admin, "POST", "/api/reload")
            wait_for_workers(admin, WORKERS)
            visit(server.port)
            found[name] = scraped(server.process.pid, admin)
    return found


def reading(core: int) -> dict[str, float]:
    """Microseconds of looking at all workers, in another process, while they serve nothing but have served."""
    say(f"reading the scoreboard of {READ_WORKERS} workers")
    with TemporaryDirectory(prefix="swell-bench-") as name:
        runtime = Path(name)
        with serving(core, "bench_routes:app", "--workers", str(READ_WORKERS), runtime=runtime) as (server, admin):
            wait_for_workers(admin, READ_WORKERS)
            visit(server.port)
            (path,) = runtime.glob("*/scoreboard")
            words = ("-c", READER, path, str(READ_WORKERS), str(READINGS))
            seen: dict[str, float] = json.loads(environment.command(PYTHON, *words, failure="no reading:"))
    return seen


def wait_for_workers(admin: int, count: int) -> None:
    """All are ready, and nobody else is there any more."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        workers = json.loads(ask(admin, "GET", "/api/status"))["workers"]
        if [worker["state"] for worker in workers] == ["ready"] * count:
            return
        time.sleep(0.1)
    raise RigError(f"{count} workers did not get ready")


def visit(port: int) -> None:
    """Has every worker answer every route."""
    head = "GET /route/{} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    clients = [socket.create_connection((HOST, port), timeout=20) for _ in range(CONNECTIONS)]
    for route in range(ROUTES):
        for client in clients:
            client.sendall(head.format(route).encode())
        for client in clients:
            if not client.recv(4096).endswith(b"Hello, World!"):
                raise RigError("a route was not served")
    for client in clients:
        client.close()


def scraped(parent: int, admin: int) -> dict[str, float]:
    """Milliseconds of a scrape, by the client's clock and of the parent's CPU, and its size in bytes."""
    connection = http.client.HTTPConnection(HOST, admin, timeout=20)
    took, size, before = [], 0, procs.run_seconds([parent])
    for _ in range(SCRAPES):
        begun = time.perf_counter()
        connection.request("GET", "/metrics")
        size = len(connection.getresponse().read())
        took.append((time.perf_counter() - begun) * 1e3)
    used = procs.run_seconds([parent]) - before
    connection.close()
    cuts = statistics.quantiles(took, n=100)
    return {"cpu_ms": used / SCRAPES * 1e3, "p50_ms": cuts[49], "p99_ms": cuts[98], "bytes": size}


def per_request(server_core: int, client_core: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """µs of CPU per request, of every variant in turns."""
    found: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
    with receiver() as endpoint:
        for turn in range(rounds):
            for variant in VARIANTS:
                say(f"round {turn + 1} of {rounds}: {variant.title}")
                variables = [f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}"]
                if variant.sampled is not None:
                    variables += ["OTEL_TRACES_SAMPLER=traceidratio", f"OTEL_TRACES_SAMPLER_ARG={variant.sampled}"]
                with serving(server_core, "bench_app:app", *variant.options, variables=variables) as (server, _):
                    result = load.window(SCENARIOS["get"], server.address, client_core, server.pids(), seconds, 1.0)
                found[variant.name].append(result.server_cpu_us)
    return found


@contextlib.contextmanager
def receiver() -> Iterator[str]:
    """Somebody who takes spans by OTLP and reads none."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def report(scrape: dict[str, dict[str, float]], board: dict[str, float], requests: dict[str, list[float]]) -> str:
    """Three tables in Markdown."""
    head = f"a scrape of {WORKERS} workers, {ROUTES} routes each"
    lines = [f"| {head} | CPU ms |  p50 ms | p99 ms | bytes |", "|---" * 5 + "|"]
    titles = {"fresh": "at first", "later": f"after {RELOADS * WORKERS} workers have ended"}
    for name, row in scrape.items():
        cells = (f"{row['cpu_ms']:.2f}", f"{row['p50_ms']:.2f}", f"{row['p99_ms']:.2f}", f"{row['bytes']:,.0f}")
        lines.append(f"| {titles[name]} | {' | '.join(cells)} |")
    lines += ["", "| | p50 µs | p99 µs | aim |", "|---|---|---|---|"]
    verdict = "met" if board["p50_us"] < READING_AIM_US else "missed"
    cells = (f"{board['p50_us']:.1f}", f"{board['p99_us']:.1f}", f"< {READING_AIM_US} µs: {verdict}")
    lines.append(f"| reading the scoreboard of {READ_WORKERS} workers | {' | '.join(cells)} |")
    lines += ["", "| | CPU µs per request | |", "|---|---|---|"]
    first = statistics.median(requests["off"])
    for variant in VARIANTS:
        median = statistics.median(requests[variant.name])
        lines.append(f"| {variant.title} | {median:.1f} | {median / first - 1:+.1%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
