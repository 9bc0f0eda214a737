"""TLS beside the peers: kept connections, HTTP/2, full handshakes, idle ones. ``python bench/tls.py --help``.

The servers take turns on one core, the clients (h2load, `openssl s_time`, this process) are on another. The certificate
is ECDSA P-256, every handshake is a full one, and what is quoted is the server's CPU time.
"""

import contextlib
import os
import re
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rig import environment, machine, procs, servers, short
from rig.environment import RigError, say
from rig.servers import BY_NAME, Running, Server, trusting

NAMES = ("swell-uvloop", "uvicorn", "nginx")
HTTP2 = ("swell-uvloop", "nginx")
CONNECTIONS = 32
STREAMS = 32
CLIENTS = 4
IDLE = 1000
# Clients that make handshakes and nothing else, and how long somebody else waits between two requests, in seconds.
CROWD, PAUSE_SECONDS = 4, 0.002
# What a server gives back only after a while is not counted as a connection's.
COOL_SECONDS = 4.0


@dataclass(frozen=True)
class Row:
    """One scenario: what it measures of a running server, and in which unit."""

    name: str
    title: str
    measure: Callable[[Running, int, float], float]
    servers: Sequence[str] = NAMES
    """Those that have the feature."""


def main() -> int:
    """Measures, prints the table, keeps the result."""
    given = short.parse("tls", "Measure TLS beside uvicorn and nginx.", rounds=3)
    try:
        prepare(build=not given.no_build)
        server_core, client_core = machine.choose_cores(None, None)
        with TemporaryDirectory(prefix="swell-bench-") as name:
            everyone = with_tls(Path(name))
            found = run(everyone, server_core, client_core, given.rounds, given.seconds)
    except RigError as error:
        say(f"bench/tls.py: {error}")
        return 1
    medians = {row: {name: statistics.median(values) for name, values in each.items()} for row, each in found.items()}
    print(table(medians, everyone))
    if not given.no_store:
        short.keep("tls", values=found, medians=medians)
    return 0


def prepare(*, build: bool) -> None:
    """Everything that is needed is there."""
    for tool, package in (("h2load", "nghttp2-client"), ("openssl", "openssl")):
        environment.command("sh", "-c", f"command -v {tool}", failure=f"{tool} is missing: install {package}")
    environment.prepare_python(fresh=False)
    environment.prepare_swell(None, build)


def with_tls(directory: Path) -> list[Server]:
    """The servers, told to speak TLS with one certificate."""
    swell = environment.VENV / "bin/swell"
    environment.command(swell, "cert", "self-signed", "--out", directory, failure="no certificate could be made:")
    certificate, key = directory / "cert.pem", directory / "key.pem"

    def command(name: str) -> Callable[[str, int, Path], Sequence[str | Path]]:
        plain = BY_NAME[name].command

        def secure(app: str, port: int, own: Path) -> Sequence[str | Path]:
            words = plain(app, port, own)
            if name != "nginx":
                return [*words, "--ssl-certfile", certificate, "--ssl-keyfile", key]
            config = own / "nginx.conf"
            files = f"ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;"
            text = config.read_text().replace(
                " backlog=", f" ssl http2 backlog={servers.BACKLOG};\n        {files} #", 1
            )
            config.write_text(text)
            return words

        return secure

    return [replace(BY_NAME[name], command=command(name), tls=True) for name in NAMES]


def run(
    everyone: list[Server], server_core: int, client_core: int, rounds: int, seconds: float
) -> dict[str, dict[str, list[float]]]:
    """Every row of every server, in turns."""
    found: dict[str, dict[str, list[float]]] = {row.name: {name: [] for name in row.servers} for row in ROWS}
    for turn in range(rounds):
        for one in everyone:
            say(f"round {turn + 1} of {rounds}: {one.title}")
            with servers.running(one, "bench_app:app", server_core) as server:
                for row in (row for row in ROWS if one.name in row.servers):
                    found[row.name][one.name].append(row.measure(server, client_core, seconds))
    return found


def requests(server: Running, core: int, seconds: float) -> float:
    """µs of CPU per request on kept connections."""
    return _h2load(server, core, seconds, "--h1")


def streams(server: Running, core: int, seconds: float) -> float:
    """µs of CPU per request over HTTP/2."""
    return _h2load(server, core, seconds, f"-m{STREAMS}")


def _h2load(server: Running, core: int, seconds: float, *options: str) -> float:
    words = ["h2load", *options, "-t1", f"-c{CONNECTIONS}", f"-D{seconds:.0f}"]
    before = procs.cpu_seconds(server.process.pid)
    said = environment.command(
        *("taskset", "-c", str(core), *words, f"https://{server.address}/"), failure="h2load has failed:"
    )
    used = procs.cpu_seconds(server.process.pid) - before
    status = re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", said)
    if status is None or int(status[1]) == 0:
        raise RigError(f"not every answer was good: {said[-300:]}")
    return used / int(status[1]) * 1e6


def handshakes(server: Running, core: int, seconds: float) -> float:
    """µs of CPU per connection with a full TLS 1.3 handshake."""
    before = procs.cpu_seconds(server.process.pid)
    count = _handshakes(server, core, seconds)
    return (procs.cpu_seconds(server.process.pid) - before) / count * 1e6


def handshake_rate(server: Running, core: int, seconds: float) -> float:
    """Full TLS 1.3 handshakes a second, of clients that do nothing else with their core."""
    return _handshakes(server, core, seconds) / seconds


def _handshakes(server: Running, core: int, seconds: float) -> int:
    words = ["openssl", "s_time", "-connect", server.address, "-new", "-tls1_3", "-time", f"{seconds:.0f}"]
    words = ["taskset", "-c", str(core), *words]
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
            for _ in range(CLIENTS)
        ]
        said = [client.communicate(timeout=60)[0] for client in clients]
    # Counted in the time of the wall; s_time also prints the client's own CPU time.
    counts = [re.search(r"(\d+) connections in \d+ real seconds", text) for text in said]
    if not all(counts):
        raise RigError(f"openssl s_time has failed: {said[0][-200:]}")
    return sum(int(count[1]) for count in counts if count)


def idle(server: Running, core: int, seconds: float) -> float:
    """Bytes per connection that has asked once and waits."""

    def asked() -> ssl.SSLSocket:
        client = trusting_context.wrap_socket(socket.create_connection((servers.HOST, server.port), timeout=20))
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if not client.recv(4096).startswith(b"HTTP/1.1 200"):
            raise RigError("a connection was not served")
        return client

    trusting_context = trusting()
    for client in [asked() for _ in range(50)]:
        client.close()
    time.sleep(1)
    before = procs.memory(server.process.pid).pss
    kept = [asked() for _ in range(IDLE)]
    time.sleep(COOL_SECONDS)
    after = procs.memory(server.process.pid).pss
    for client in kept:
        client.close()
    return (after - before) / IDLE


@contextlib.contextmanager
def crowd(server: Running, core: int, seconds: float) -> Iterator[None]:
    """Clients that connect as fast as they can, and give way to whoever measures on their core."""
    words = ["taskset", "-c", str(core), "nice", "-n", "19", "openssl", "s_time", "-connect", server.address, "-new"]
    words += ["-tls1_3", "-time", f"{seconds + 1:.0f}"]
    clients = [subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(CROWD)]
    try:
        yield
    finally:
        for client in clients:
            client.kill()
            client.wait()


def beside_handshakes(server: Running, core: int, seconds: float) -> float:
    """µs that 99 of 100 requests on a kept connection take at most, while others make handshakes."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    with contextlib.suppress(PermissionError):  # else the wait for the client's own core is measured, too
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    took = []
    try:
        raw = socket.create_connection((servers.HOST, server.port), timeout=20)
        with trusting().wrap_socket(raw) as client, crowd(server, core, seconds):
            time.sleep(0.5)
            end = time.monotonic() + seconds
            while (begun := time.monotonic()) < end:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = b""
                while not answer.endswith(b"Hello, World!"):
                    piece = client.recv(4096)
                    if not piece:
                        raise RigError("a request beside handshakes was not served")
                    answer += piece
                took.append((time.monotonic() - begun) * 1e6)
                time.sleep(PAUSE_SECONDS)
    finally:
        os.sched_setaffinity(0, allowed)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return statistics.quantiles(took, n=100)[98]


ROWS = (
    # First: later ones would reuse the memory of earlier connections.
    Row("idle", "1,000 idle TLS connections, bytes each", idle),
    Row("get", "TLS 1.3 keep-alive GET, CPU µs per request", requests),
    Row("h2", f"HTTP/2 over TLS 1.3 GET, {CONNECTIONS} × {STREAMS} streams, CPU µs per request", streams, HTTP2),
    Row("handshake", "TLS 1.3 full handshake, CPU µs per connection", handshakes),
    Row("handshakes", f"TLS 1.3 full handshakes per second, {CLIENTS} clients on one core", handshake_rate),
    Row("beside", "a keep-alive GET while four clients make handshakes only: 99th percentile, µs", beside_handshakes),
)


def table(medians: dict[str, dict[str, float]], everyone: list[Server]) -> str:
    """In Markdown, with each server's ratio to Swell."""
    lines = ["| | " + " | ".join(one.title for one in everyone) + " |", "|---" * (len(everyone) + 1) + "|"]
    for row in ROWS:
        ours = medians[row.name][everyone[0].name]
        values = [medians[row.name].get(one.name) for one in everyone]
        cells = ["cannot" if value is None else f"{value:,.1f} ({value / ours:.2f}×)" for value in values]
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
