"""Which listening sockets the engine accepts from: all, some, or none, changed while it serves.

A socket that is not accepted from stays open, so what connects there waits for its turn and is not refused.
"""

import asyncio
import socket

import pytest
from support.apps import answer
from support.client import Connection
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, str(scope["server"][1]).encode())


def shard() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener


async def connected(listener: socket.socket) -> Connection:
    return Connection(*await asyncio.open_connection(*listener.getsockname()))


async def answered(connection: Connection) -> int:
    """The port that the application sees as the server's."""
    return int((await connection.get()).body)


def test_a_listener_that_is_not_accepted_from_keeps_its_connections_waiting() -> None:
    async def scenario(server: InProcess) -> None:
        with shard() as other:
            server.engine.listen(other.fileno(), accepting=False)
            waiting = await connected(other)
            async with server.connect() as client:
                for _ in range(3):
                    assert (await client.get()).status == 200
            assert server.engine.stats()["accepted"] == 1
            server.engine.accept_from([1])
            assert await answered(waiting) == other.getsockname()[1]
            await waiting.close()

    serving(Backend("asyncio"), app, scenario)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_listeners_change_while_serving(loop: str) -> None:
    async def scenario(server: InProcess) -> None:
        with shard() as second, shard() as third:
            server.engine.listen(second.fileno())
            server.engine.listen(third.fileno(), accepting=False)
            listeners = [second, third]
            for accepted in ([1], [2], [1, 2], [2, 1, 1], [0], [], [1], [0, 1, 2]):
                server.engine.accept_from(accepted)
                before = server.engine.stats()["accepted"]
                clients = [await connected(listener) for listener in listeners]
                now = [at - 1 for at in accepted if at > 0]
                for at in set(now):
                    assert await answered(clients[at]) == listeners[at].getsockname()[1]
                assert server.engine.stats()["accepted"] == before + len(set(now))
                server.engine.accept_from([0, 1, 2])
                for client, listener in zip(clients, listeners, strict=True):
                    assert await answered(client) == listener.getsockname()[1]
                    await client.close()
            await server.wait_idle()

    serving(Backend(loop, loop=loop), app, scenario)


def test_an_accepted_connection_lives_on_when_its_listener_is_left_to_others() -> None:
    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            assert (await client.get()).status == 200
            server.engine.accept_from([])
            assert (await client.get()).status == 200

    serving(Backend("asyncio"), app, scenario)


def test_an_index_that_names_no_listener_is_an_error_and_changes_nothing() -> None:
    async def scenario(server: InProcess) -> None:
        with pytest.raises(IndexError, match="there is no listener 1: 1 were given"):
            server.engine.accept_from([1])
        with pytest.raises(OverflowError):
            server.engine.accept_from([-1])
        async with server.connect() as client:
            assert (await client.get()).status == 200

    serving(Backend("asyncio"), app, scenario)


def test_the_end_of_accepting_is_for_good() -> None:
    async def scenario(server: InProcess) -> None:
        with shard() as other:
            server.engine.listen(other.fileno(), accepting=False)
            server.engine.stop_accepting()
            server.engine.accept_from([0, 1])
            waiting = await connected(other)
            for _ in range(3):
                server.engine.turn()
            assert server.engine.stats()["accepted"] == 0
            # It still waits in the socket's queue, for whoever accepts next.
            other.accept()[0].close()
            await waiting.close()

    serving(Backend("asyncio"), app, scenario)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_connections_that_wait_in_the_queue_when_accepting_ends_are_served(loop: str) -> None:
    async def scenario(server: InProcess) -> None:
        with shard() as other:
            server.engine.listen(other.fileno())
            # Nothing lets the engine turn between these and the end: they are in the kernel's queue.
            clients = [socket.create_connection(other.getsockname(), 10) for _ in range(50)]
            for client in clients:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            server.engine.stop_accepting()
            assert server.engine.stats()["accepted"] == len(clients)
            ended = server.engine.drain()
            answers = await asyncio.to_thread(lambda: [client.recv(1000) for client in clients])
            assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
            for client in clients:
                client.close()
            await ended

    serving(Backend(loop, loop=loop), app, scenario)
