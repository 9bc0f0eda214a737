"""WebSockets over the life of a server: many of them, next to requests, at shutdown."""

import asyncio
import contextlib
import gc
import logging
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.backends import over_both
from support.inprocess import Backend, InProcess, serving, wait_until
from support.kernel import descriptors, memory

from swell import Config, Server
from websocket.applications import Application, Socket, disconnect, echo
from websocket.peer import Op, opened, peer


def test_open_websockets_do_not_count_under_limit_concurrency(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        async with opened(server) as first, opened(server) as second, peer(server) as plain:
            assert (await plain.connection.get("/")).body == b"http"
            assert server.engine.active == 0
            for client in (first, second):
                await client.text("hello")
                assert await client.message() == "hello"
                await client.close()
                assert await client.closed() == (1000, "")

    serving(backend, Application(echo), scenario, limit_concurrency=1, limit_queue=0)


def serving_to_the_end(
    backend: Backend, app: Application, scenario: Callable[[InProcess], Awaitable[None]], **options: Any
) -> None:
    """For scenarios that end the server: it runs beside the one that `serving` starts, on the same loop and log."""

    async def around(outer: InProcess) -> None:
        with tempfile.TemporaryDirectory() as directory, backend.listener(Path(directory)) as listener:
            server = Server(Config.make(app, lifespan="off", access_log=False, **backend.options, **options))
            serve = asyncio.ensure_future(server.serve([listener]))
            await wait_until(lambda: server.started)
            await scenario(InProcess(server, listener.getsockname(), outer.log, backend))
            await serve
            assert app.running == 0

    serving(backend, Application(echo), around)


def test_shutdown_closes_with_1012(backend: Backend) -> None:
    """RFC 6455 §7.4.1 and its registry: 1012, service restart. The application is told once the peer has answered."""

    async def handler(ws: Socket) -> None:
        await ws.accept()
        app.note(await ws.receive())
        with pytest.raises(OSError, match="disconnected"):
            await ws.put("too late")
        app.note("raised")

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            server.server.should_exit = True
            assert (await client.closed())[0] == 1012
            await client.close(1012)
            await client.ended()
            assert await app.noted() == disconnect(1012)
            assert await app.noted() == "raised"

    serving_to_the_end(backend, app, scenario)


def test_sending_while_the_server_closes_is_no_error_of_the_application(backend: Backend) -> None:
    """The application did not close: it gets `ClientDisconnected`, which stays out of the log."""

    async def handler(ws: Socket) -> None:
        await ws.accept()
        while True:
            await ws.put("tick")
            await asyncio.sleep(0)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            assert await client.message() == "tick"
            server.server.should_exit = True
            frame = await client.frame()
            while frame.op is Op.TEXT:
                frame = await client.frame()
            assert frame.op is Op.CLOSE
            await client.close(1012)
            await client.ended()

    serving_to_the_end(backend, Application(handler), scenario)


@pytest.mark.parametrize("silent", ["peer", "application"])
def test_shutdown_is_bounded(backend: Backend, silent: str) -> None:
    """--timeout-graceful-shutdown: neither a peer nor an application that does not react holds the server."""

    async def handler(ws: Socket) -> None:
        await ws.accept()
        try:
            if silent == "peer":
                await ws.next()
            else:
                await asyncio.Event().wait()
        finally:
            app.note("ended")

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.WARNING, "did not end in time")
        async with opened(server) as client:
            begun = time.monotonic()
            server.server.should_exit = True
            assert (await client.closed())[0] == 1012
            if silent == "application":
                await client.close(1012)
            assert await app.noted() == "ended"
            assert time.monotonic() - begun < 5
            with contextlib.suppress(ConnectionResetError):
                await client.connection.rest()

    serving_to_the_end(backend, app, scenario, timeout_graceful_shutdown=0.3, ws_close_timeout=30)


def test_shutdown_refuses_handshakes_that_are_not_answered_yet(backend: Backend) -> None:
    async def handler(ws: Socket) -> None:
        await ws.receive()
        app.note("offered")
        app.note(await ws.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            await client.offer()
            assert await app.noted() == "offered"
            server.server.should_exit = True
            await client.refused(503)
            assert await app.noted() == disconnect(1006)

    serving_to_the_end(backend, app, scenario)


@over_both
def test_two_thousand_websockets_leave_nothing_behind(backend: Backend) -> None:
    """Descriptors, tasks and memory are the same after 2,000 connections, however they ended."""

    async def one(server: InProcess, number: int) -> None:
        async with opened(server, f"/{number}", (b"sec-websocket-extensions", b"permessage-deflate")) as client:
            await client.text("x" * 1000)
            assert (await client.frame()).op is Op.TEXT
            if number % 3 == 0:
                client.reset()
            elif number % 3 == 1:
                await client.close()
                await client.frame()

    async def scenario(server: InProcess) -> None:
        async def rounds(first: int, count: int) -> None:
            for start in range(first, first + count, 20):
                async with asyncio.TaskGroup() as group:
                    for number in range(start, start + 20):
                        group.create_task(one(server, number))
            await server.wait_idle()
            app.scopes.clear()
            gc.collect()

        await rounds(0, 600)
        fds, tasks = descriptors(os.getpid()), len(asyncio.all_tasks())
        growth = []
        # The heap may grow to another shape once; what is left behind is left behind each time.
        for again in range(3):
            rss = memory(os.getpid())
            await rounds(600 + again * 2000, 2000)
            assert app.running == 0
            assert len(asyncio.all_tasks()) == tasks
            assert descriptors(os.getpid()) <= fds
            assert server.engine.stats()["websockets"] == 2600 + again * 2000
            growth.append(memory(os.getpid()) - rss)
            # Less than one compressor (some 300 KB each) for every two hundred connections.
            if growth[-1] < 3 << 20:
                return
        raise AssertionError(f"each time 2,000 connections left bytes behind: {growth}")

    app = Application(echo)
    serving(backend, app, scenario)
