"""The end begins, and clients that have not been told may have asked again: on a connection that is idle, or whose
response is not all taken. Each request is answered, or its connection reset because nobody has read it.
"""

import asyncio
import contextlib
import socket

import pytest
from support.apps import answer, body, start
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving, wait_until
from support.raw import connected, get_request


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_requests_that_wait_on_idle_connections_when_the_end_begins_are_answered(loop: str) -> None:
    def ask(client: socket.socket) -> None:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

    async def scenario(server: InProcess) -> None:
        with contextlib.ExitStack() as ends:
            clients = [ends.enter_context(socket.create_connection(server.address, 10)) for _ in range(50)]
            for client in clients:
                ask(client)
            await asyncio.to_thread(lambda: [client.recv(1000) for client in clients])
            # Nothing lets the engine turn between these and the end: they are with the kernel.
            for client in clients:
                ask(client)
            ended = server.engine.drain()
            server.engine.dismiss(0)
            answers = await asyncio.to_thread(lambda: [client.recv(1000) for client in clients])
            assert all(b"connection: close" in answer for answer in answers)
        await ended

    serving(Backend(loop, loop=loop), app, scenario)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("size", [60_000, 5_000_000], ids=["with the kernel", "with the server"])
def test_a_request_behind_a_response_that_is_over_after_the_end_has_begun_is_answered(loop: str, size: int) -> None:
    """Its head has left before, and has not told the client to ask elsewhere."""
    go, over = asyncio.Event(), asyncio.Event()

    async def long(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/next":
            await answer(send)
            return
        await send(start())
        await send(body(b"-", more=True))
        await go.wait()
        sent = send(body(bytes(size)))
        over.set()
        await sent

    async def scenario(server: InProcess) -> None:
        with connected(server.address, receive_buffer=4096) as client:
            await asyncio.to_thread(client.request, "/long")
            await wait_until(lambda: server.engine.stats()["bytes_sent"] > 0)
            ended = server.engine.drain()
            go.set()
            await over.wait()
            client.send(get_request("/next"))
            server.engine.dismiss(0)
            await asyncio.sleep(0)
            server.engine.dismiss(0)
            first, second = await asyncio.to_thread(lambda: (client.response(), client.response()))
            assert (first.status, len(first.body)) == (200, 1 + size)
            assert (second.status, second.closes) == (200, True)
            await asyncio.to_thread(client.wait_closed)
        await ended

    serving(Backend(loop, loop=loop), long, scenario)


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "kept"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_request_whose_head_comes_slowly_has_its_time(loop: str, is_new: bool) -> None:
    """More than a connection has on which nothing comes."""

    async def scenario(server: InProcess) -> None:
        with connected(server.address) as client:
            if not is_new:
                await asyncio.to_thread(client.get)
            head = get_request("/")
            client.send(head[:10])
            await wait_until(lambda: server.engine.connections == 1)
            ended = server.engine.drain()
            await asyncio.sleep(2.5)
            client.send(head[10:])
            assert (await asyncio.to_thread(client.response)).closes
        await ended

    serving(Backend(loop, loop=loop), app, scenario)
