"""aiohttp as a client: its own HTTP parser and its own WebSocket implementation."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import aiohttp

from apps.running import RunningServer, run_bounded

APP = "echo_app:app"


def test_requests_on_one_connection(server: RunningServer) -> None:
    async def scenario() -> None:
        async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=1)) as session:
            ports = set()
            for size in (0, 1, 1000, 100_000):
                async with session.post("/a%20b", data=b"x" * size) as response:
                    seen = await response.json()
                    assert (response.status, seen["size"], seen["path"]) == (200, size, "/a b")
                    ports.add(seen["client_port"])
            assert len(ports) == 1

    run_bounded(scenario())


def test_chunked_upload_and_chunked_answer(server: RunningServer) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(100):
            yield bytes([number]) * 1_234
            await asyncio.sleep(0)

    async def scenario() -> None:
        whole = b"".join(bytes([number]) * 1_234 for number in range(100))
        async with aiohttp.ClientSession(server.url) as session, session.put("/stream", data=parts()) as response:
            assert response.headers["transfer-encoding"] == "chunked"
            assert (await response.json())["sha256"] == hashlib.sha256(whole).hexdigest()

    run_bounded(scenario())


def test_expect_continue(server: RunningServer) -> None:
    async def scenario() -> None:
        async with (
            aiohttp.ClientSession(server.url) as session,
            session.post("/", data=b"x" * 50_000, expect100=True) as response,
        ):
            assert (await response.json())["size"] == 50_000

    run_bounded(scenario())


def test_many_at_once(server: RunningServer) -> None:
    async def scenario() -> None:
        async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=30)) as session:

            async def one(number: int) -> int:
                async with session.post("/", data=b"y" * number) as response:
                    size = (await response.json())["size"]
                    assert isinstance(size, int)
                    return size

            assert await asyncio.gather(*(one(number) for number in range(300))) == list(range(300))

    run_bounded(scenario())


def test_websocket(server: RunningServer) -> None:
    async def scenario() -> None:
        async with (
            aiohttp.ClientSession(server.url) as session,
            session.ws_connect("/", protocols=("one", "two"), compress=15, autoping=False) as ws,
        ):
            assert ws.protocol == "two"
            assert ws.compress
            for text in ("", "short", "é" * 30_000):
                await ws.send_str(text)
                assert await ws.receive_str(timeout=10) == text
            await ws.send_bytes(bytes(range(256)) * 500)
            assert await ws.receive_bytes(timeout=10) == bytes(range(256)) * 500
            await ws.ping(b"are you there?")
            pong = await ws.receive(timeout=10)
            assert (pong.type, bytes(pong.data)) == (aiohttp.WSMsgType.PONG, b"are you there?")
            await ws.send_str("close 3999")
            closed = await ws.receive(timeout=10)
            assert (closed.type, closed.data, closed.extra) == (aiohttp.WSMsgType.CLOSE, 3999, "asked to")

    run_bounded(scenario())
