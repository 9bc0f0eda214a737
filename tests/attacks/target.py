"""The server under attack: how it is started, and what its application says about what got through."""

from __future__ import annotations

import functools
import json
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from support import raw
from support.backends import TCP
from support.certificates import client_context, server_files
from support.exchanges import exchanges
from support.inprocess import Backend
from support.kernel import memory, wait_until
from support.raw import Connection, connected
from support.server import ServerProcess, serving

__all__ = ["Target", "target"]

SERVED = Path(__file__).parent / "served"
# The application's largest body: as much may stay with the C library's allocator.
FLAT = 20_000_000


class Target:
    """A running server with the application of `served/hostile.py`, and how clients reach it."""

    def __init__(self, server: ServerProcess, backend: Backend = TCP[0], address: raw.Address | None = None) -> None:
        self.server = server
        self.backend = backend
        self.address: Any = address or server.address
        self.worker = server.worker
        #: Where a test leaves what it has measured.
        self.record: Callable[[str, object], None] = lambda name, value: None

    def get(self, path: str, *fields: str) -> raw.Response:
        """What tests ask besides: of the same worker, by HTTP/1.1."""
        return raw.get(self.address, path, fields, _tls("http/1.1") if self.backend.tls else None)

    def connect(self, **options: Any) -> Any:
        """A client on a connection of its own: `raw.Connection`, or `Exchanges` over HTTP/2."""
        speak: Any = exchanges if self.backend.http2 else connected
        tls = _tls("h2" if self.backend.http2 else "http/1.1") if self.backend.tls else None
        return speak(self.address, tls=tls, **options)

    def connect_raw(self, *, tls: bool = True) -> Any:
        """A `raw.Connection` on which nothing is said yet but TLS, and that only if the server speaks it."""
        alpn = "h2" if self.backend.http2 else "http/1.1"
        return connected(self.address, tls=_tls(alpn) if tls and self.backend.tls else None)

    def seen(self) -> list[dict[str, Any]]:
        """What has reached the application since the last call."""
        found: list[dict[str, Any]] = json.loads(self.get("/_seen").body)
        return found

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/_state").body)
        return found

    def count(self, name: str) -> int:
        return int(self.state()["counts"].get(name, 0))

    def wait_for_count(self, name: str, wanted: int) -> None:
        wait_until(lambda: self.count(name) >= wanted, f"{wanted} × {name!r}")

    def release(self, name: str) -> None:
        """Lets the requests go on that wait for `name`."""
        assert self.get(f"/set/{name}").body == b"set"

    def is_serving(self) -> bool:
        return self.get("/odd/body-bytes").body == b"12345"


@functools.cache
def _tls(alpn: str) -> ssl.SSLContext:
    """One for all connections: to make one costs more than a handshake."""
    return client_context(alpn=(alpn,))


@contextmanager
def target(*options: str, backend: Backend = TCP[0], loop: str | None = None, **more: Any) -> Iterator[Target]:
    """A server of its own, for one test or for several. Requests that never end are cut soon when it stops.

    Whatever was done to the worker, its memory is flat: with the connections it has given back what they took.
    """
    options = ("--timeout-graceful-shutdown", "1", *options)
    more["loop"] = loop or backend.loop
    with ExitStack() as stack:
        address: str | None = None
        if backend.family == socket.AF_UNIX:
            address = stack.enter_context(tempfile.TemporaryDirectory(prefix="swell-")) + "/s"
            more["listen"] = ("--bind", f"unix:{address}")
        if backend.tls:
            certificate, key = server_files()
            options = ("--ssl-certfile", certificate, "--ssl-keyfile", key, *options)
        server = stack.enter_context(serving("hostile:app", *options, directory=SERVED, **more))
        begun = memory(server.worker)
        yield Target(server, backend, address)
        if server.process.poll() is None:
            grown = [0]

            def flat() -> bool:
                try:
                    grown[0] = memory(server.worker) - begun
                except OSError:
                    grown[0] = 0  # it has ended, as it was to
                return grown[0] < FLAT

            with suppress(AssertionError):
                wait_until(flat, "memory is given back", 5)
            assert grown[0] < FLAT, f"the worker's memory has grown by {grown[0] >> 10} KiB"


def exchange(connection: Connection, data: bytes) -> raw.Response:
    connection.send(data)
    return connection.response()
