"""Places under `limit_concurrency`: who has waited for one comes before who comes now."""

import asyncio
import contextlib
from collections import defaultdict

from support.apps import answer
from support.backends import HTTP2, TCP, over
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving, wait_until


@over(*TCP, HTTP2)
def test_a_free_place_is_for_who_has_waited_longest(backend: Backend) -> None:
    """Not for a request that comes between the end of the one before and the next turn."""
    gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
    begun: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])
        await gates[scope["path"]].wait()
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as first, server.connect() as second, server.connect() as third:
            await first.request("/first")
            await wait_until(lambda: begun == ["/first"])
            await second.request("/second")
            await wait_until(lambda: server.engine.stats()["queued"] == 1)
            gates["/first"].set()
            await asyncio.sleep(0)  # the application returns, of which the engine hears with the next callback
            await third.request("/third")
            await first.response()
            await wait_until(lambda: server.engine.stats()["queued"] == 1 and len(begun) == 2)
            gates["/second"].set()
            gates["/third"].set()
            assert (await second.response()).status == 200
            assert (await third.response()).status == 200
        assert begun == ["/first", "/second", "/third"]

    serving(backend, app, scenario, limit_concurrency=1, limit_queue=2)


@over(TCP[0])
def test_who_waits_keeps_the_place_in_a_full_queue(backend: Backend) -> None:
    gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gates[scope["path"]].wait()
        await answer(send)

    async def scenario(server: InProcess) -> None:
        server.log.expect(30, "503, 1 requests are being served")
        async with contextlib.AsyncExitStack() as ends:
            first, second, third, fourth = [await ends.enter_async_context(server.connect()) for _ in range(4)]
            await first.request("/first")
            await wait_until(lambda: server.engine.active == 1)
            await second.request("/second")
            await wait_until(lambda: server.engine.stats()["queued"] == 1)
            gates["/first"].set()
            await asyncio.sleep(0)
            await third.request("/third")
            await fourth.request("/fourth")
            await first.response()
            await wait_until(lambda: server.engine.stats()["overloaded"] > 0)
            for path in ("/second", "/third", "/fourth"):
                gates[path].set()
            assert (await second.response()).status == 200
            assert sorted([(await third.response()).status, (await fourth.response()).status]) == [200, 503]

    serving(backend, app, scenario, limit_concurrency=1, limit_queue=1)
