"""A server whose certificates are Pebble's, and clients that look at them."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import AbstractContextManager
from pathlib import Path

from support.pebble import Pebble, ca_file
from support.server import ServerProcess, serving

__all__ = ["APPLICATION", "ENVIRONMENT", "ORDER_SECONDS", "ask", "connect", "issued", "serials", "site"]

APPLICATION = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})
"""
ORDER_SECONDS = 60.0
ENVIRONMENT = {"NO_PROXY": "localhost,127.0.0.1"}


def site(pebble: Pebble, directory: Path, names: tuple[str, ...], *more: str) -> AbstractContextManager[ServerProcess]:
    """It keeps its state in `directory`."""
    (directory / "said.py").write_text(APPLICATION)
    options = ["--acme-directory", pebble.directory, "--acme-ca-file", ca_file(), "--acme-accept-terms"]
    for name in names:
        options += ["--acme-domain", name]
    state = ("--state-dir", str(directory / "state"), "--lifespan", "off")
    listen = ("--bind", f"127.0.0.1:{pebble.tls_port}")
    return serving("said:app", *options, *state, *more, directory=directory, listen=listen, environment=ENVIRONMENT)


def issued(server: ServerProcess, name: str, *, since: int = 0) -> None:
    """Waits until it has one."""
    server.wait_for_log(rf"ACME: {re.escape(name)} has a certificate of ", ORDER_SECONDS, since=since)


def connect(pebble: Pebble, name: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection to the server."""
    raw = socket.create_connection(("127.0.0.1", pebble.tls_port), timeout=20)
    return context.wrap_socket(raw, server_hostname=name)


def serials(pebble: Pebble, name: str, context: ssl.SSLContext, count: int = 8) -> set[str]:
    """Those of so many connections in a row, whichever worker takes them."""
    found = set()
    for _ in range(count):
        with connect(pebble, name, context) as client:
            shown = client.getpeercert()
            assert shown is not None
            found.add(str(shown["serialNumber"]))
    return found


def ask(client: ssl.SSLSocket, path: str) -> None:
    """One request and its answer, on a connection that stays."""
    client.sendall(f"GET {path} HTTP/1.1\r\nhost: here\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n" + path.encode()):
        piece = client.recv(65536)
        assert piece, answer
        answer += piece
