"""The `websockets` library as a client: compression variants, fragments, pings, close codes, backpressure."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.typing import Subprotocol

from apps.running import SERVER, RunningServer, run_bounded

APP = "echo_app:app"

DEFLATE = {
    "plain": None,
    "deflate": [ClientPerMessageDeflateFactory()],
    "no client takeover": [ClientPerMessageDeflateFactory(client_no_context_takeover=True)],
    "no server takeover": [ClientPerMessageDeflateFactory(server_no_context_takeover=True)],
    "small windows": [ClientPerMessageDeflateFactory(client_max_window_bits=10, server_max_window_bits=10)],
}


@pytest.mark.parametrize("extensions", DEFLATE.values(), ids=DEFLATE)
def test_echo(server: RunningServer, extensions: list[ClientPerMessageDeflateFactory] | None) -> None:
    messages: list[str | bytes] = ["", b"", "é", "ab" * 65_536, bytes(range(256)) * 1_024, "the same", "the same"]

    async def scenario() -> None:
        async with connect(server.ws_url, compression=None, extensions=extensions) as ws:
            for message in messages:
                await ws.send(message)
                assert await ws.recv() == message
            assert bool(ws.protocol.extensions) == bool(extensions)

    run_bounded(scenario())


def test_fragments_are_joined(server: RunningServer) -> None:
    async def parts() -> AsyncIterator[str]:
        for part in ("one ", "", "é", " three"):
            yield part
            await asyncio.sleep(0)

    async def scenario() -> None:
        async with connect(server.ws_url) as ws:
            await ws.send(parts())
            assert await ws.recv() == "one é three"

    run_bounded(scenario())


def test_ping_is_answered_between_messages(server: RunningServer) -> None:
    async def scenario() -> None:
        async with connect(server.ws_url) as ws:
            for number in range(10):
                pong = await ws.ping(f"{number}")
                await ws.send("x")
                assert await pong >= 0
                assert await ws.recv() == "x"

    run_bounded(scenario())


def test_subprotocol(server: RunningServer) -> None:
    async def scenario() -> None:
        offered = [Subprotocol("graphql-transport-ws"), Subprotocol("chat.v2")]
        async with connect(server.ws_url, subprotocols=offered) as ws:
            assert ws.subprotocol == "chat.v2"

    run_bounded(scenario())


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
def test_close_from_the_server(server: RunningServer, code: int) -> None:
    async def scenario() -> None:
        async with connect(server.ws_url) as ws:
            await ws.send(f"close {code}")
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            assert (ws.close_code, ws.close_reason) == (code, "asked to")

    run_bounded(scenario())


@pytest.mark.parametrize("code", [1000, 3456, 4321])
def test_close_from_the_client(server: RunningServer, code: int) -> None:
    async def scenario() -> None:
        async with connect(server.ws_url) as ws:
            await ws.close(code, f"bye {code}")

    run_bounded(scenario())
    server.wait_for_log(f"closed with {code} bye {code}")


def test_broken_utf8_is_1007(server: RunningServer) -> None:
    if SERVER == "uvicorn":
        server.expect_error("UnicodeDecodeError")  # the client's fault, but it logs a traceback

    async def scenario() -> None:
        async with connect(server.ws_url) as ws:
            await ws.send(b"\xc3\x28", text=True)
            with pytest.raises(ConnectionClosedError):
                await ws.recv()
            assert ws.close_code == 1007

    run_bounded(scenario())


def test_connection_cut_without_a_close_frame(server: RunningServer) -> None:
    async def scenario() -> None:
        ws = await connect(server.ws_url, compression=None)
        await ws.send("x")
        assert await ws.recv() == "x"
        ws.transport.abort()
        await ws.wait_closed()

    run_bounded(scenario())
    server.wait_for_log("closed with 100[56]")


def test_slow_reader_gets_everything(server: RunningServer) -> None:
    """The server must hold the application back instead of dropping or reordering messages."""

    async def scenario() -> None:
        async with connect(server.ws_url, max_queue=2) as ws:
            await ws.send("count 20000")
            await ws.send("last")
            for number in range(20_000):
                assert await ws.recv() == str(number)
            assert await ws.recv() == "last"

    run_bounded(scenario())


def test_many_sockets(server: RunningServer) -> None:
    async def one(number: int) -> None:
        async with connect(server.ws_url) as ws:
            for turn in range(10):
                await ws.send(f"{number} {turn}")
                assert await ws.recv() == f"{number} {turn}"

    async def scenario() -> None:
        await asyncio.gather(*(one(number) for number in range(50)))

    run_bounded(scenario())
