"""A client that sends, or takes, without a pause does not keep the others waiting: each has its share of a turn."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.apps import start
from support.frames import PING, frame, handshake
from support.inprocess import Backend, InProcess, Receive, Scope, Send
from support.inprocess import serving as serving_here
from support.kernel import wait_until
from support.raw import Connection, connected
from support.server import ServerProcess, serving, with_tests

SERVED = Path(__file__).parent / "served"
ENOUGH = 4 << 20
"""Bytes after which a flood has begun: more than all buffers on the way hold."""


def request(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


@dataclass(frozen=True)
class Flood:
    """What a client sends first, and then again and again; without the latter it only takes."""

    first: bytes
    then: bytes = b""


FLOODS = {
    "pipelined requests": Flood(b"", request("GET", "/") * 10_000),
    "a body": Flood(request("POST", "/", f"Content-Length: {1 << 50}"), bytes(1 << 20)),
    "a body in small chunks": Flood(request("POST", "/", "Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 50_000),
    "a response": Flood(request("GET", "/large")),
    "a response in small pieces": Flood(request("GET", "/small")),
    "pings": Flood(handshake(), frame(PING, b"") * 50_000),
    "messages": Flood(handshake("/talk")),
}


class Flooding:
    def __init__(self, connection: Connection, flood: Flood) -> None:
        self.connection, self.flood = connection, flood
        self.passed = 0
        self.threads = [
            threading.Thread(target=self._run, args=[step], daemon=True) for step in (self._take, self._send)
        ]
        connection.send(flood.first)
        for thread in self.threads[: 1 + bool(flood.then)]:
            thread.start()

    def _run(self, step: Callable[[], bool]) -> None:
        with contextlib.suppress(OSError):
            while step():
                pass

    def _take(self) -> bool:
        data = self.connection.socket.recv(1 << 20)
        self.passed += len(data)
        return bool(data)

    def _send(self) -> bool:
        self.connection.send(self.flood.then)
        self.passed += len(self.flood.then)
        return True

    def is_on(self) -> bool:
        return self.threads[bool(self.flood.then)].is_alive()


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    options = ("--no-access-log", "--timeout-graceful-shutdown", "1")
    with serving("floods:app", *options, directory=SERVED, loop=request.param, environment=with_tests()) as server:
        yield server


@pytest.mark.parametrize("name", FLOODS)
def test_one_client_does_not_keep_the_others_waiting(server: ServerProcess, name: str) -> None:
    with connected(server.address) as greedy:
        flooding = Flooding(greedy, FLOODS[name])
        wait_until(lambda: flooding.passed > ENOUGH, "the flood has begun")
        with connected(server.address) as other:
            for _ in range(10):
                assert other.get("/").status == 200
        assert flooding.is_on()


TAKER = """
import socket, sys

peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
peer.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
place = bytearray(1 << 22)
while peer.recv_into(place, 0, socket.MSG_TRUNC):  # dropped unseen: nobody takes faster
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="TCP that drops what is received is Linux's")
def test_a_file_that_is_taken_as_fast_as_it_comes_leaves_the_loop_its_turns(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.touch()
    os.truncate(file, 1 << 30)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send({"type": "http.response.pathsend", "path": str(file)})

    async def scenario(server: InProcess) -> None:
        taker = await asyncio.create_subprocess_exec(sys.executable, "-c", TAKER, str(server.address[1]))
        try:
            sent, most = 0, 0
            while sent < 1 << 28:
                await asyncio.sleep(0)
                before, sent = sent, server.engine.stats()["bytes_sent"]
                most = max(most, sent - before)
            assert most < 32 << 20, "in one turn"
        finally:
            taker.kill()
            await taker.wait()

    serving_here(Backend("asyncio"), app, scenario)
