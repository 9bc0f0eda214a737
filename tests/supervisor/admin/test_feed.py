"""The page's files and its events, on a real socket, with an instance that keeps what it is told."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from support.instance import SECONDS, FakeInstance
from support.readings import reading, snapshot

from swell.supervisor.admin import feed as module
from swell.supervisor.admin.app import AdminApplication
from swell.supervisor.admin.feed import Feed
from swell.supervisor.admin.guard import Guard
from swell.supervisor.control.server import ControlServer

Event = tuple[str, dict[str, Any]]


class Served:
    """An admin application, its client, and what it shows."""

    def __init__(self, client: httpx.AsyncClient, feed: Feed, instance: FakeInstance) -> None:
        self.client = client
        self.feed = feed
        self.instance = instance

    @asynccontextmanager
    async def events(self, **headers: str) -> AsyncIterator[AsyncIterator[Event]]:
        async with self.client.stream("GET", "/api/events", headers=headers) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield _read(answer)


async def _read(answer: httpx.Response) -> AsyncIterator[Event]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def served(scenario: Callable[[Served], Coroutine[Any, Any, None]], guard: Guard | None = None) -> None:
    async def run() -> None:
        instance = FakeInstance()
        listener = socket.create_server(("127.0.0.1", 0))
        feed = Feed(instance, lambda: snapshot(reading(requests=7)), lambda: None)
        server = ControlServer(AdminApplication(instance, lambda: snapshot(), guard or Guard(), 30.0, feed), listener)
        await server.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with asyncio.timeout(SECONDS), httpx.AsyncClient(base_url=url, trust_env=False) as client:
                await scenario(Served(client, feed, instance))
        finally:
            feed.stop()
            await server.close()
            listener.close()

    asyncio.run(run())


async def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)


def test_who_looks_gets_everything_and_then_each_second() -> None:
    async def scenario(it: Served) -> None:
        old = {"at": 5.0, "before": 1, "after": 2, "rule": "burst", "guard": None, "inputs": {"a": 1}, "text": "why"}
        it.instance.decisions = [old]
        async with it.events() as events:
            name, hello = await anext(events)
            assert name == "hello"
            assert hello["totals"]["requests"] == 7
            assert [one["id"] for one in hello["workers"]] == [1, 2]
            assert hello["access"] == {"read_only": False}
            assert hello["decisions"] == [{key: value for key, value in old.items() if key != "inputs"}]
            it.instance.decisions = [old, {**old, "at": 6.0, "after": 3}]
            name, now = await anext(events)
            assert name == "now"
            assert len(now["point"]) == len(hello["columns"])
            assert [one["after"] for one in now["decisions"]][-1] == 3
            name, now = await anext(events)
            assert now["decisions"] == []
        await wait_for(lambda: it.feed.viewers == 0)

    served(scenario)


def test_all_who_look_get_the_same_moment() -> None:
    async def scenario(it: Served) -> None:
        async with it.events() as first, it.events() as second:
            one, other = (await anext(first))[1], (await anext(second))[1]
            assert one["at"] == other["at"]
            assert (await anext(first))[1]["at"] == (await anext(second))[1]["at"]
            assert it.feed.viewers == 2

    served(scenario)


def test_nobody_is_asked_while_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCHED_SECONDS", 0.01)
    monkeypatch.setattr(module, "UNWATCHED_SECONDS", 0.01)

    async def scenario(it: Served) -> None:
        async with it.events() as events:
            for _ in range(3):
                await anext(events)
        await wait_for(lambda: it.feed.viewers == 0)
        asked = len(it.instance.calls)
        await asyncio.sleep(0.2)
        assert len(it.instance.calls) == asked
        # With `start` it keeps points for who comes later.
        it.feed.start()
        await wait_for(lambda: len(it.instance.calls) > asked + 4)
        async with it.events() as events:
            assert len((await anext(events))[1]["history"]) >= 4

    served(scenario)


def test_pages_are_let_go_when_the_server_ends() -> None:
    async def run() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        instance = FakeInstance()
        server = ControlServer(AdminApplication(instance, lambda: snapshot(), Guard(), 30.0), listener)
        await server.start()
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await reader.readuntil(b"event: hello\n")
        closing = asyncio.create_task(server.close())
        # An ordinary end, and not the cut that comes after two seconds.
        assert (await reader.read()).endswith(b"\r\n0\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        await closing
        listener.close()

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_too_many_pages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VIEWERS_AT_MOST", 1)

    async def scenario(it: Served) -> None:
        async with it.events() as events:
            await anext(events)
            refused = await it.client.get("/api/events")
            assert (refused.status_code, refused.json()["detail"]) == (503, "1 pages look already")

    served(scenario)


def test_the_files_are_for_everybody_and_the_data_is_not() -> None:
    async def scenario(it: Served) -> None:
        host = {"host": "swell.example"}
        page = await it.client.get("/", headers=host)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        for name in ("main.js", "style.css", "icon.svg"):
            assert f"/static/{name}" in page.text
        for path in ("/static/main.js", "/static/style.css", "/static/icon.svg"):
            answer = await it.client.get(path, headers=host)
            assert answer.status_code == 200
            assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert (await it.client.get("/api/events")).status_code == 401
        assert (await it.client.get("/static/nothing.js")).status_code == 404
        assert (await it.client.get("/static/files.py")).status_code == 404
        assert (await it.client.post("/", headers={"swell-admin": "1"})).status_code in (401, 405)
        async with it.events(authorization=f"Bearer {'x' * 16}") as events:
            assert (await anext(events))[0] == "hello"

    served(scenario, Guard(token="x" * 16))


def test_names_that_are_not_this_machines_get_not_even_the_page() -> None:
    async def scenario(it: Served) -> None:
        for path in ("/", "/static/main.js", "/api/events"):
            assert (await it.client.get(path, headers={"host": "evil.example"})).status_code == 403

    served(scenario)


def test_the_page_knows_that_it_may_only_look() -> None:
    async def scenario(it: Served) -> None:
        async with it.events() as events:
            assert (await anext(events))[1]["access"] == {"read_only": True}

    served(scenario, Guard(read_only=True))


def test_no_markup_or_script_is_in_the_way_of_the_policy() -> None:
    async def scenario(it: Served) -> None:
        text = (await it.client.get("/")).text
        assert " style=" not in text
        assert " onclick=" not in text
        assert "://" not in text.replace("http://www.w3.org", "")
        assert text.count("<script") == text.count('<script type="module" src="/static/')

    served(scenario)
