"""Deadlines run from when what they watch has begun, and pass although nothing else happens.

What an application does after a wait without any turn must not be dated back to the last turn, and the timer is set for
it.
"""

import asyncio
import contextlib
import socket
import time

import pytest
from support.apps import answer, body, start
from support.backends import TCP, over, over_both
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving, wait_until

LARGE = bytes(20_000_000)  # more than the buffers on the way hold


@over(*TCP)
def test_idleness_begins_with_the_answer_however_long_that_took(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(2.1)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.get("/slow")
            await client.wait_nothing(0.1)
            assert (await client.get()).status == 200

    serving(backend, app, scenario, timeout_keep_alive=2)


@over(TCP[0])
def test_a_new_connection_has_its_time_for_a_request_when_the_end_begins(backend: Backend) -> None:
    """Two seconds from then on, not from when anything was last heard of."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await wait_until(lambda: server.engine.connections == 1)
            await asyncio.sleep(2.1)
            server.engine.drain()
            await client.wait_nothing(0.1)
            await client.over(await client.get())

    serving(backend, app, scenario)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_came_in_time_counts_however_long_the_loop_was_blocked(loop: str) -> None:
    """The timer has fired for the first connection; the others asked after that, and were due while nobody looked. They
    are more than one turn has time for."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        time.sleep(0.0001)  # noqa: ASYNC251
        await answer(send)

    async def scenario(server: InProcess) -> None:
        with contextlib.ExitStack() as ends:
            first, *others = await asyncio.to_thread(
                lambda: [ends.enter_context(socket.create_connection(server.address, 10)) for _ in range(200)]
            )

            async def taken(clients: list[socket.socket]) -> set[bytes]:
                return await asyncio.to_thread(lambda: {client.recv(1000)[:12] for client in clients})

            def ask(clients: list[socket.socket]) -> None:
                for client in clients:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

            ask([first])
            assert await taken([first]) == {b"HTTP/1.1 200"}
            await asyncio.sleep(0.5)
            ask(others)
            assert await taken(others) == {b"HTTP/1.1 200"}
            began = time.monotonic()
            time.sleep(0.7)  # noqa: ASYNC251 - it blocks, as applications do
            ask(others)
            assert time.monotonic() - began < 1.0
            time.sleep(0.8)  # noqa: ASYNC251
            assert await taken(others) == {b"HTTP/1.1 200"}

    serving(Backend(loop, loop=loop), app, scenario, timeout_keep_alive=1)


@over_both
def test_a_client_that_takes_nothing_is_noticed_although_nothing_else_happens(backend: Backend) -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"-", more=True))
        await go.wait()
        with contextlib.suppress(OSError):
            await send(body(LARGE, more=True))
            await send(body(b"-", more=True))

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.request()
            await client.head()
            client.pause_reading()
            # The timer was set for the request's head. When that is over there is none.
            await asyncio.sleep(0.5)
            go.set()
            await wait_until(lambda: server.engine.active == 0)

    serving(backend, app, scenario, seconds=8, timeout_header=0.3, timeout_write=0.3)


@over_both
def test_the_time_to_take_bytes_begins_when_there_are_some(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(2.1)
        await answer(send, LARGE)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            client.pause_reading()
            await client.request()
            await wait_until(lambda: server.engine.stats()["bytes_sent"] > 1000)
            await asyncio.sleep(0.2)
            client.resume_reading()
            assert (await client.response()).body == LARGE

    serving(backend, app, scenario, timeout_write=2)
