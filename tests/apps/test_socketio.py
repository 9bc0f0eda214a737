"""python-socketio behind the server, with its own client: long polling, WebSocket and the upgrade between them."""

# mypy: disable-error-code="import-untyped"
import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest
import socketio

from apps.running import RunningServer, run_bounded

APP = "socketio_app:app"

pytestmark = pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning")

TRANSPORTS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": ["polling", "websocket"]}


@asynccontextmanager
async def connected(server: RunningServer, transports: list[str], name: str) -> AsyncIterator[socketio.AsyncClient]:
    async with aiohttp.ClientSession() as session:
        client = socketio.AsyncClient(reconnection=False, http_session=session)
        await client.connect(server.url, transports=transports, auth={"name": name}, wait_timeout=10)
        yield client
        await client.disconnect()
    gc.collect()  # the client drops answers unread; their warning belongs to this test, where it is ignored


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
def test_acknowledged_events(server: RunningServer, transports: list[str]) -> None:
    async def scenario() -> None:
        async with connected(server, transports, "ada") as client:
            assert client.transport() == transports[-1]
            for data in ("text", {"a": [1, 2]}, b"\x00\xff" * 1000, "x" * 100_000):
                assert await client.call("echo", data, timeout=10) == data

    run_bounded(scenario())
    server.wait_for_log("socket.io: ada left")


def test_rooms_and_broadcast_across_transports(server: RunningServer) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            entering = (connected(server, transports, name) for name, transports in TRANSPORTS.items())
            clients = [await stack.enter_async_context(client) for client in entering]
            heard: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in clients]
            for client, queue in zip(clients, heard, strict=True):
                client.on("said", queue.put)
                assert await client.call("enter", "harbour", timeout=10) == "harbour"
            await clients[0].emit("say", {"room": "harbour", "text": "ahoy"})
            for queue in heard[1:]:
                assert await queue.get() == {"name": "polling", "text": "ahoy"}
            assert heard[0].empty()

    run_bounded(scenario())


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
def test_events_keep_their_order(server: RunningServer, transports: list[str]) -> None:
    async def scenario() -> None:
        async with connected(server, transports, "bob") as client:
            drops: asyncio.Queue[int] = asyncio.Queue()
            client.on("drop", drops.put)
            count = 200 if transports[-1] == "websocket" else 12  # the client takes 16 packets from one poll at most
            await client.emit("flood", count)
            assert [await drops.get() for _ in range(count)] == list(range(count))

    run_bounded(scenario())


def test_refused_connection(server: RunningServer) -> None:
    async def scenario() -> None:
        with pytest.raises(socketio.exceptions.ConnectionError):
            async with connected(server, ["websocket"], "mallory"):
                pass

    run_bounded(scenario())


def test_other_application_beside_it(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/").text == "other"
