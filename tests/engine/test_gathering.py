"""Answers of connections that are ready together leave together, but nobody waits for an application that blocks."""

import select
import socket
import time
from typing import Any

import pytest
from support.apps import answer
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving, wait_until

TRIES = 200
BLOCKED = 0.005
"""More than the engine calls slow, in seconds."""


@pytest.fixture(params=["asyncio", "uvloop"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return Backend(request.param, loop=request.param)


def ask(client: socket.socket, path: str) -> None:
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def has_answer(client: socket.socket) -> bool:
    return bool(select.select([client], [], [], 0)[0])


async def answered(client: socket.socket) -> None:
    await wait_until(lambda: has_answer(client))
    assert client.recv(65_536).startswith(b"HTTP/1.1 200")


class Pair:
    """Two connections. When the second one is asked for, it notes whether the answer to the first has left."""

    def __init__(self) -> None:
        self.clients: list[socket.socket] = []
        self.left: list[bool] = []

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/second":
            self.left.append(has_answer(self.clients[0]))
        if scope["path"] == "/slow":
            time.sleep(BLOCKED)  # noqa: ASYNC251 - it blocks, as applications do
        await answer(send)

    async def both(self) -> bool:
        """Whether the first answer had left when the second application ran."""
        ask(self.clients[0], "/first")
        ask(self.clients[1], "/second")
        for client in self.clients:
            await answered(client)
        return self.left[-1]

    def close(self) -> None:
        for client in self.clients:
            client.close()


def run(backend: Backend, scenario: Any) -> None:
    pair = Pair()

    async def whole(server: InProcess) -> None:
        pair.clients = [socket.create_connection(server.address) for _ in range(2)]
        try:
            await pair.both()
            await scenario(pair)
        finally:
            pair.close()

    serving(backend, pair.app, whole)


def test_answers_of_connections_that_are_ready_together_leave_together(backend: Backend) -> None:
    async def scenario(pair: Pair) -> None:
        # A step that the machine interrupts counts as slow: not every time.
        for _ in range(TRIES):
            if not await pair.both():
                return
        pytest.fail("the first answer has always left before the second request was looked at")

    run(backend, scenario)


def test_behind_a_slow_step_nobody_waits(backend: Backend) -> None:
    async def scenario(pair: Pair) -> None:
        for _ in range(TRIES):
            begun = time.monotonic()
            ask(pair.clients[0], "/slow")
            await answered(pair.clients[0])
            left = await pair.both()
            if time.monotonic() - begun < 0.09:
                assert left
                return
        pytest.fail("the machine is too slow for this test")

    run(backend, scenario)
