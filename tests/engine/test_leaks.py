"""Nothing is left of a finished request: not in reference counts, not among the collector's objects, not in memory.

Each kind of request is served thousands of times on kept connections, after a warm-up; what is counted before and
after must be the same, up to what a run of this size jitters by for reasons of its own.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.apps import answer, body, read_body, start
from support.backends import HTTP2, HTTP2_TLS, TCP, TLS, UNIX, over_both
from support.client import Connection
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving

WARM_UP = 1_000
REQUESTS = 20_000
OBJECTS = 100  # of the collector: less than one in a hundred requests
KILOBYTES = 3_000  # of resident memory: 150 bytes a request

MARK = b"a header value that is nowhere else"
BIG = b"x" * 40_000


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, await read_body(receive), 200, (b"x-mark", MARK))


async def suspend(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0)
    await answer(send)


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    await send(start())
    await asyncio.sleep(0)
    await send(body(b"piece", more=True))
    await asyncio.sleep(0)
    await send(body())


async def big(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, BIG)


async def abandoned(scope: Scope, receive: Receive, send: Send) -> None:
    _ = receive()
    waiting = asyncio.ensure_future(receive())
    await asyncio.wait([waiting])
    never = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    never.cancel()
    await answer(send)


async def refused(scope: Scope, receive: Receive, send: Send) -> None:
    for wrong in ({}, {"type": "x"}, {"type": "http.response.start", "status": 200, "headers": [(b"a", b"\n")]}):
        try:
            await send(wrong)
        except RuntimeError:
            continue
        raise AssertionError
    await answer(send)


async def whole_scope(scope: Scope, receive: Receive, send: Send) -> None:
    scope["state_of_mine"] = [scope, receive, send]  # a cycle of the application's own making
    await answer(send)
    scope.clear()


async def kept(client: Connection, count: int, **request: Any) -> None:
    """That many requests on one connection, ten at a time."""
    for _ in range(count // 10):
        for _ in range(10):
            await client.request(**request)
        for _ in range(10):
            assert (await client.response()).status == 200


def rss_kilobytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


Load = Callable[[InProcess, int], Awaitable[None]]


def keep_alive(**request: Any) -> Load:
    async def load(server: InProcess, count: int) -> None:
        async with server.connect() as client:
            await kept(client, count, **request)
        await server.wait_idle()

    return load


FIELDS = [(b"accept", b"*/*"), (b"user-agent", b"leak test"), (b"x-mark", MARK)]
KINDS: dict[str, tuple[Any, Load, int]] = {
    "get": (plain, keep_alive(), REQUESTS),
    "fields": (plain, keep_alive(target="/a/path?query=1", fields=FIELDS), REQUESTS),
    "post": (echo, keep_alive(method="POST", body=b"y" * 1000), REQUESTS),
    "suspend": (suspend, keep_alive(), REQUESTS),
    "stream": (stream, keep_alive(), REQUESTS // 2),
    "big": (big, keep_alive(), REQUESTS // 4),
    "abandoned": (abandoned, keep_alive(method="POST", body=b"z"), REQUESTS // 2),
    "refused": (refused, keep_alive(), REQUESTS // 2),
    "cycle": (whole_scope, keep_alive(), REQUESTS // 2),
}


def watched(app: object) -> list[object]:
    """Objects that the engine takes references to again and again."""
    return [app, None, True, False, b"", MARK, BIG, asyncio.Task, asyncio.Future, dict, "type", "http.request"]


def counts(app: object) -> list[int]:
    return [sys.getrefcount(item) for item in watched(app)]


async def assert_nothing_stays(
    server: InProcess, app: object, load: Callable[[InProcess, int], Awaitable[None]], warm_up: int, count: int
) -> None:
    """Of `count` rounds of the load, after so many that are not looked at."""
    await load(server, warm_up)
    gc.collect()
    before, objects, memory = counts(app), len(gc.get_objects()), rss_kilobytes()
    await load(server, count)
    gc.collect()
    after, objects_after, memory_after = counts(app), len(gc.get_objects()), rss_kilobytes()
    # Immortal and hugely shared objects drift a little with whatever else runs; a leak is one a request.
    drift = {repr(item)[:40]: new - old for item, old, new in zip(watched(app), before, after, strict=True)}
    assert {name: by for name, by in drift.items() if abs(by) > OBJECTS} == {}
    assert objects_after - objects <= OBJECTS
    assert memory_after - memory <= KILOBYTES


#: Every kind on both loops, and over HTTP/2, whose client is slow; the paths of bytes that are others also elsewhere.
PLACES = [
    *((backend, kind, 1) for backend in TCP for kind in KINDS),
    *((HTTP2, kind, 5) for kind in KINDS),
    *((backend, kind, 5) for backend in (UNIX, TLS, HTTP2_TLS) for kind in ("post", "stream")),
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("backend", "kind", "less"), PLACES, ids=lambda value: value.name if isinstance(value, Backend) else str(value)
)
def test_nothing_is_left_of_finished_requests(backend: Backend, kind: str, less: int) -> None:
    app, load, requests = KINDS[kind]
    requests //= less

    async def scenario(server: InProcess) -> None:
        await assert_nothing_stays(server, app, load, WARM_UP, requests)
        stats = server.engine.stats()
        assert (stats["connections"], stats["active"], stats["queued"]) == (0, 0, 0)

    serving(backend, app, scenario, seconds=90)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("leave", ["close", "reset", "half"])
@pytest.mark.parametrize(
    ("backend", "connections"),
    [(TCP[0], 2_000), (HTTP2, 400), (TLS, 400)],
    ids=lambda value: value.name if isinstance(value, Backend) else "",
)
def test_nothing_is_left_of_connections(backend: Backend, connections: int, leave: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"x" * 100, more=True))
        while (await receive())["type"] != "http.disconnect":
            pass

    async def load(server: InProcess, count: int) -> None:
        for _ in range(count):
            async with server.connect() as client:
                if leave == "half":
                    await client.begin(length=10)
                    await client.send_body(b"half")
                else:
                    await client.request()
                await client.head()
                if leave == "reset":
                    client.reset()
        await server.wait_idle()

    async def scenario(server: InProcess) -> None:
        await load(server, 200)
        files = len(os.listdir("/proc/self/fd"))
        await assert_nothing_stays(server, app, load, 0, connections)
        assert len(os.listdir("/proc/self/fd")) == files

    serving(backend, app, scenario, seconds=90)


@pytest.mark.timeout(120)
def test_nothing_is_left_of_streams_that_were_reset() -> None:
    """On one connection, within what a client may reset in ten seconds."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"x" * 100, more=True))
        while (await receive())["type"] != "http.disconnect":
            pass

    async def load(server: InProcess, count: int) -> None:
        async with server.connect() as client:
            for number in range(count):
                if number % 2:
                    await client.begin(length=10)
                    await client.send_body(b"half")
                else:
                    await client.request()
                await client.head()
                client.reset()
                client.forget()
            await server.wait_idle()

    async def scenario(server: InProcess) -> None:
        await assert_nothing_stays(server, app, load, 200, 2_000)

    serving(HTTP2, app, scenario, seconds=90, h2_max_resets=10_000)


def census() -> dict[str, int]:
    """How many there are of what a request is made of."""
    every = gc.get_objects()
    return {
        "tasks": sum(type(item) in (asyncio.Task, asyncio.Future) for item in every),
        "scopes": sum(type(item) is dict and "raw_path" in item for item in every),
        "engine": sum(type(item).__module__ == "swell._core" for item in every),
    }


@over_both
def test_a_finished_request_is_freed_without_the_collector(backend: Backend) -> None:
    """Every task, scope and message is gone as soon as its request is."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/suspend":
            await asyncio.sleep(0)
        await answer(send, await read_body(receive))

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for target in ("/", "/suspend"):
                await kept(client, 50, target=target, method="POST", body=b"abc")
                gc.collect()
                before = census()
                gc.disable()
                try:
                    await kept(client, 500, target=target, method="POST", body=b"abc")
                    after = census()
                finally:
                    gc.enable()
                assert {name: after[name] - before[name] for name in after if after[name] > before[name] + 10} == {}
                assert gc.collect() < 50

    serving(backend, app, scenario)


def test_a_server_that_ended_is_gone() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.get()

    def run(count: int) -> tuple[int, int, int]:
        for _ in range(count):
            serving(Backend("asyncio"), app, scenario)
        gc.collect()
        return sys.getrefcount(app), len(os.listdir("/proc/self/fd")), census()["engine"]

    assert run(3) == run(10)
