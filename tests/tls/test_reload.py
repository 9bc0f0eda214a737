"""New certificates are taken over by every worker without a restart, broken ones are not; sessions outlive both."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.certificates import client_context, server_files
from support.server import START_SECONDS, ServerProcess, serving

APPLICATION = """
import os

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-pid", b"%d" % os.getpid())]})
    await send({"type": "http.response.body", "body": b"served"})
"""
GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Site:
    """A server whose certificate the test replaces."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificate, self.key = directory / "site.pem", directory / "site.key"

    def put(self, name: str) -> None:
        """Both files at once, as a tool that renews certificates does it: by renaming."""
        for target, source in zip((self.certificate, self.key), server_files("localhost", name), strict=True):
            new = target.with_suffix(".new")
            shutil.copy(source, new)
            new.replace(target)

    @property
    def options(self) -> tuple[str, ...]:
        files = ("--ssl-certfile", str(self.certificate), "--ssl-keyfile", str(self.key))
        return (*files, "--workers", "2", "--lifespan", "off", "--no-access-log")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "said.py").write_text(APPLICATION)
    site = Site(tmp_path)
    site.put("first.test")
    return site


def connect(server: ServerProcess, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    raw = socket.create_connection(server.address, timeout=20)
    return CONTEXT.wrap_socket(raw, server_hostname="localhost", session=session)


CONTEXT = client_context()


def names(server: ServerProcess) -> set[str]:
    with connect(server) as client:
        found = client.getpeercert()
        assert found is not None
        return {str(entry[1]) for entry in found["subjectAltName"]}


def ask(client: ssl.SSLSocket) -> str:
    """The id of the process that has answered."""
    client.sendall(GET)
    answer = b""
    while not answer.endswith(b"served"):
        piece = client.recv(65536)
        assert piece, answer
        answer += piece
    return answer.partition(b"x-pid: ")[2].split(b"\r\n")[0].decode()


def everybody_shows(server: ServerProcess, name: str) -> None:
    """Sixteen connections in a row, whichever worker takes them."""
    seen: list[bool] = []

    def steady() -> bool:
        seen.append(name in names(server))
        return len(seen) >= 16 and all(seen[-16:])

    until(steady)


def test_a_new_certificate_is_shown_by_all_and_no_connection_is_lost(site: Site) -> None:
    with serving("said:app", *site.options, directory=site.directory) as server, connect(server) as before:
        pid = ask(before)
        site.put("second.test")
        server.wait_for_log(r"TLS: the certificates were loaded anew: .*second\.test")
        everybody_shows(server, "second.test")
        assert ask(before) == pid


def test_a_broken_certificate_is_told_once_and_keeps_the_old_one(site: Site) -> None:
    with serving("said:app", *site.options, directory=site.directory) as server:
        site.certificate.write_text("half a certif")
        server.wait_for_log(r"TLS: .*site\.pem contains no certificate.*; going on with the certificates")
        assert "first.test" in names(server)
        # A worker that starts now gets what the others have.
        mark = server.mark()
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(r"worker \d+ \(pid \d+\) is ready", START_SECONDS, since=mark)
        everybody_shows(server, "first.test")
        site.put("third.test")
        server.wait_for_log(r"TLS: the certificates were loaded anew: .*third\.test")
        everybody_shows(server, "third.test")
        assert server.log.count("going on with the certificates") == 1


def test_sessions_go_on_after_a_reload_and_after_an_upgrade(site: Site) -> None:
    with serving("said:app", *site.options, directory=site.directory) as server:
        with connect(server) as client:
            first = ask(client)
            session = client.session
        server.process.send_signal(signal.SIGHUP)
        # While it is reloading, the server takes no upgrade.
        server.wait_for_log(r"reloaded: generation 2 serves", START_SECONDS)
        assert _served_by(server) != first
        with connect(server, session) as client:
            ask(client)
            assert client.session_reused
            session = client.session
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for_log("has taken over|serves now|pid \\d+ serves", START_SECONDS)
        with connect(server, session) as client:
            ask(client)
            assert client.session_reused


def _served_by(server: ServerProcess) -> str:
    with connect(server) as client:
        return ask(client)
