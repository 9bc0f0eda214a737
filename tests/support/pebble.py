"""Pebble, Let's Encrypt's authority for tests, and the names that it looks up.

`built()` is the program: one on the search path, else Go builds it into `.cache/pebble`, once. `authority(directory)`
runs one. It connects to `tls_port` and `http_port` of this machine, whatever name it validates, but for names that
begin with `nowhere.`, which do not exist. Knows nothing of the server under test.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import random
import re
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.certificates import authority as web_authority
from support.certificates import client_context, own_directory, server_files

__all__ = ["Pebble", "authority", "built", "free_port"]

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "pebble"
MODULE = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1"
BUILD_SECONDS = 400
START_SECONDS = 30.0


def built() -> str:
    """The path of a Pebble. Skips the test where there is none to be had."""
    program, trouble = _found()
    if program is None:
        pytest.skip(trouble)
    return program


@functools.cache
def _found() -> tuple[str | None, str]:
    """The path, or why there is none; whoever asks again is not kept waiting again."""
    if installed := shutil.which("pebble"):
        return installed, ""
    program = CACHE / "pebble"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        # Tests in another process may be building it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        trouble = "" if program.exists() else _build(program)
    return None if trouble else str(program), trouble


def _build(program: Path) -> str:
    """Empty, or why it was not built."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not Path(go).exists():
        return "neither Pebble is installed nor Go, with which it is built"
    beside, log = CACHE / "building", CACHE / "build.log"
    environment = {**os.environ, "GOBIN": str(beside)}
    try:
        with open(log, "w") as output:
            subprocess.run(
                [go, "install", MODULE],
                env=environment,
                stdout=output,
                stderr=output,
                check=True,
                timeout=BUILD_SECONDS,
            )
        os.replace(beside / "pebble", program)
    except subprocess.TimeoutExpired:
        return f"Pebble was not built within {BUILD_SECONDS} s"
    except subprocess.CalledProcessError:
        return f"Go cannot build Pebble: {log.read_text()[-500:]}"
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return ""


def free_port() -> int:
    """A port that nobody listens on, outside the range from which the system takes ports for others."""
    for _ in range(1000):
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise AssertionError("no port is free")


class _Names(socketserver.BaseRequestHandler):
    """DNS over TCP (RFC 1035 §4.2.2), as much of it as Pebble asks for: every name is this machine."""

    def handle(self) -> None:
        sock: socket.socket = self.request
        stream = sock.makefile("rwb")
        while len(head := stream.read(2)) == 2:
            query = stream.read(struct.unpack("!H", head)[0])
            end = query.index(0, 12) + 5
            name, kind = query[12 : end - 4], struct.unpack("!H", query[end - 4 : end - 2])[0]
            unknown = name.startswith(b"\x07nowhere")
            address = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton("127.0.0.1")
            answer = b"" if unknown or kind != 1 else address
            flags = 0x8183 if unknown else 0x8180
            counts = struct.pack("!HHHHH", flags, 1, bool(answer), 0, 0)
            reply = query[:2] + counts + query[12:end] + answer
            stream.write(struct.pack("!H", len(reply)) + reply)
            stream.flush()


class _NameServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@dataclass
class Pebble:
    """A running authority. `log` is its file."""

    port: int
    management: int
    tls_port: int
    http_port: int
    log: Path

    @property
    def directory(self) -> str:
        return f"https://localhost:{self.port}/dir"

    @property
    def orders(self) -> int:
        """How many certificates it has issued."""
        return len(re.findall(r"Issued certificate serial", self.log.read_text()))

    def requests(self, resource: str) -> int:
        """How often a resource was asked for."""
        return len(re.findall(rf"(?:GET|HEAD|POST) {re.escape(resource)}\S* -> calling handler", self.log.read_text()))

    def context(self) -> ssl.SSLContext:
        """For a client that trusts its certificates, and nobody else's."""
        address = f"https://localhost:{self.management}/roots/0"
        with urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=client_context(alpn=()))
        ).open(address, timeout=20) as answer:
            return ssl.create_default_context(cadata=answer.read().decode())


def ca_file() -> str:
    """Whom to trust as the authority's web server."""
    path = own_directory() / "pebble-web.pem"
    if not path.exists():
        web_authority().cert_pem.write_to_path(str(path))
    return str(path)


@contextlib.contextmanager
def authority(
    directory: Path,
    *,
    ports: tuple[int, int] | None = None,
    port: int | None = None,
    validity: int = 90 * 86400,
    nonces_refused: int = 0,
) -> Iterator[Pebble]:
    """Runs one with its files in `directory`. `ports` are those for TLS and HTTP that it connects to; certificates are
    valid for `validity` seconds; so many of a hundred nonces are refused."""
    tls_port, http_port = ports or (free_port(), free_port())
    certificate, key = server_files()
    program = built()
    with _NameServer(("127.0.0.1", 0), _Names) as names:
        threading.Thread(target=names.serve_forever, daemon=True).start()
        pebble = Pebble(port or free_port(), free_port(), tls_port, http_port, directory / "pebble.log")
        settings = {
            "listenAddress": f"127.0.0.1:{pebble.port}",
            "managementListenAddress": f"127.0.0.1:{pebble.management}",
            "certificate": certificate,
            "privateKey": key,
            "httpPort": http_port,
            "tlsPort": tls_port,
            "retryAfter": {"authz": 1, "order": 1},
            "keyAlgorithm": "ecdsa",
            "profiles": {"default": {"description": "for tests", "validityPeriod": validity}},
        }
        (directory / "pebble.json").write_text(json.dumps({"pebble": settings}))
        command = [program, "-config", str(directory / "pebble.json"), "-strict"]
        command += ["-dnsserver", f"127.0.0.1:{names.server_address[1]}"]
        environment = {
            **os.environ,
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": str(nonces_refused),
            "PEBBLE_AUTHZREUSE": "0",
        }
        with (
            open(pebble.log, "w") as log,
            subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment) as process,
        ):
            try:
                for one in (pebble.port, pebble.management):
                    _wait_for(one, process, pebble.log)
                yield pebble
            finally:
                process.kill()
                names.shutdown()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.05)
