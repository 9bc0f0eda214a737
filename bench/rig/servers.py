"""The servers under test: their command lines, how to start, find and end them.

All get one worker, no access log, long keep-alive times and a deep backlog, so that what differs is the server. Knows
nothing of scenarios beyond the application to load. Called by `measure` and the soak.
"""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rig import environment, procs
from rig.environment import APPS, ROOT, VENV, RigError

START_SECONDS = 20.0
END_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 300
BACKLOG = 4096
FILES = 40_000
HOST = "127.0.0.1"

NGINX_CONF = """\
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile {files};
error_log stderr error;
pid {directory}/pid;
events {{ worker_connections {files}; multi_accept on; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_timeout {keep_alive}s;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {host}:{port} backlog={backlog};
        set $kilobyte "{kilobyte}";
        location = / {{ return 200 "Hello, World!"; }}
        location = /10k {{ return 200 "{ten}"; }}
    }}
}}
"""


@dataclass(frozen=True)
class Server:
    """One row of the table. `command` makes the command line from application, port and a private directory."""

    name: str
    title: str
    command: Callable[[str, int, Path], Sequence[str | Path]]
    websocket: bool = True
    http2: bool = False
    """It speaks HTTP/2 in clear text."""
    applications: bool = True
    """It runs Python applications (nginx does not)."""
    tls: bool = False
    """It was told to speak TLS."""


def _swell(loop: str) -> Callable[[str, int, Path], Sequence[str | Path]]:
    def command(app: str, port: int, directory: Path) -> Sequence[str | Path]:
        options = ["--host", HOST, "--port", str(port), "--loop", loop, "--no-access-log", "--log-level", "warning"]
        return [VENV / "bin/swell", app, *options]

    return command


def _uvicorn(app: str, port: int, directory: Path) -> Sequence[str | Path]:
    options = ["--host", HOST, "--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    limits = ["--timeout-keep-alive", str(KEEP_ALIVE_SECONDS), "--backlog", str(BACKLOG)]
    return [VENV / "bin/uvicorn", app, *options, *limits, "--log-level", "warning"]


def _granian(app: str, port: int, directory: Path) -> Sequence[str | Path]:
    options = ["--interface", "asgi", "--host", HOST, "--port", str(port), "--workers", "1", "--loop", "uvloop"]
    # Its back-pressure counts connections, so it has to be above the number of idle ones.
    limits = ["--backlog", str(BACKLOG), "--backpressure", str(FILES // 2)]
    return [VENV / "bin/granian", *options, *limits, "--no-access-log", "--log-level", "warning", app]


def _gunicorn(app: str, port: int, directory: Path) -> Sequence[str | Path]:
    # Without a time-out its arbiter does not take a worker for dead that was frozen between two turns.
    options = ["-k", "asgi", "--asgi-loop", "uvloop", "-w", "1", "-b", f"{HOST}:{port}", "--no-control-socket"]
    limits = ["--timeout", "0", "--keep-alive", str(KEEP_ALIVE_SECONDS), "--backlog", str(BACKLOG)]
    limits += ["--worker-connections", str(FILES)]
    return [VENV / "bin/gunicorn", *options, *limits, "--log-level", "warning", app]


def _hypercorn(app: str, port: int, directory: Path) -> Sequence[str | Path]:
    config = directory / "hypercorn.toml"
    config.write_text(f"keep_alive_timeout = {KEEP_ALIVE_SECONDS}\nkeep_alive_max_requests = 1000000000\n")
    options = ["-c", str(config), "-k", "uvloop", "-w", "1", "-b", f"{HOST}:{port}", "--backlog", str(BACKLOG)]
    return [VENV / "bin/hypercorn", *options, "--log-level", "WARNING", app]


def _fastpysgi(app: str, port: int, directory: Path) -> Sequence[str | Path]:
    return [VENV / "bin/fastpysgi", app, "--host", HOST, "-p", str(port), "-l", "2"]


def _nginx(app: str, port: int, directory: Path) -> Sequence[str | Path]:
    nginx = environment.find_nginx()
    if nginx is None:
        raise RigError("nginx is missing")
    config = directory / "nginx.conf"
    text = NGINX_CONF.format(
        user="user root;" if os.geteuid() == 0 else "",
        files=FILES // 2,
        directory=directory,
        keep_alive=KEEP_ALIVE_SECONDS,
        host=HOST,
        port=port,
        backlog=BACKLOG,
        # A word of the configuration may be 4 KB long, so 10 KB are written as ten times a variable.
        kilobyte="x" * 1024,
        ten="${kilobyte}" * 10,
    )
    config.write_text(text)
    return [nginx, "-c", config, "-e", "stderr", "-p", directory]


SERVERS = (
    Server("swell-asyncio", "Swell (asyncio)", _swell("asyncio"), http2=True),
    Server("swell-uvloop", "Swell (uvloop)", _swell("uvloop"), http2=True),
    Server("uvicorn", "uvicorn (httptools, uvloop)", _uvicorn),
    Server("granian", "granian (uvloop)", _granian, http2=True),
    Server("gunicorn", "gunicorn -k asgi (uvloop)", _gunicorn),
    Server("hypercorn", "hypercorn (uvloop)", _hypercorn, http2=True),
    Server("fastpysgi", "fastpysgi", _fastpysgi, websocket=False),
    Server("nginx", "nginx (from configuration)", _nginx, websocket=False, applications=False),
)
BY_NAME = {server.name: server for server in SERVERS}


def with_options(server: Server, *options: str | Path) -> Server:
    """A server that is told more."""

    def command(app: str, port: int, directory: Path) -> Sequence[str | Path]:
        return [*server.command(app, port, directory), *options]

    return replace(server, command=command)


def with_admin(server: Server, port: int) -> Server:
    """A Swell with its admin address on this port of the loopback."""
    return with_options(server, "--admin", f"{HOST}:{port}")


class Running:
    """A started server."""

    def __init__(self, server: Server, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.server = server
        self.process = process
        self.port = port
        self._log = log

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.port}"

    def pids(self) -> list[int]:
        """Its process tree now."""
        return procs.tree(self.process.pid)

    def freeze(self) -> None:
        """Stop the whole session, so that a server that spins while idle takes nothing from the one in turn."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def _connect(self) -> socket.socket:
        client = socket.create_connection((HOST, self.port), timeout=5)
        return trusting().wrap_socket(client) if self.server.tls else client

    def complaint(self) -> str:
        """The end of what it printed, for an error text."""
        text = self._log.read_text(errors="replace").replace(str(ROOT), ".").replace(str(Path.home()), "~")
        lines = [line for line in text.splitlines() if line.strip()]
        return " | ".join(lines[-3:])[-400:] or "it printed nothing"

    def wait_answering(self) -> None:
        """Wait until a worker answers: the port may be open before there is one, and its process would be missed."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RigError(f"it ended with {self.process.returncode}: {self.complaint()}")
            with contextlib.suppress(OSError), self._connect() as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                if client.recv(4096).startswith(b"HTTP/1.1 "):
                    return
            time.sleep(0.05)
        raise RigError(f"it did not answer within {START_SECONDS:.0f} s: {self.complaint()}")

    def end(self) -> None:
        """End the whole tree: politely, then not."""
        with contextlib.suppress(ProcessLookupError):
            self.thaw()
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # The server leads a session of its own: what is left in its group is a worker that outlived its parent.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def trusting() -> ssl.SSLContext:
    """For clients that take any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(server: Server, app: str, core: int) -> Iterator[Running]:
    """Start `server` with `app` on one core, and end it afterwards."""
    with TemporaryDirectory(prefix="swell-bench-") as name:
        directory = Path(name)
        port = free_port()
        log = directory / "log"
        variables = {**os.environ, "PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"}
        variables.pop("WEB_CONCURRENCY", None)
        command = ["taskset", "-c", str(core), *server.command(app, port, directory)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=APPS, env=variables, stdout=output, stderr=output, start_new_session=True
            )
        started = Running(server, process, port, log)
        try:
            started.wait_answering()
            yield started
        finally:
            started.end()
