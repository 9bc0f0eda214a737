"""Limits and floods: what a peer gets beyond them, and that the server's memory stays flat. docs/limits.md."""

import asyncio
import logging
import os
import zlib
from typing import Any

import pytest
from support.inprocess import Backend, InProcess, serving
from support.kernel import memory

from websocket.applications import Application, Socket, echo
from websocket.peer import Op, encode, opened

MIB = 1 << 20
MOST = 256 * MIB


@pytest.mark.parametrize(("size", "message"), [(1000, 1000), (1000, 1001), (1000, 1 << 40)])
def test_message_size(backend: Backend, size: int, message: int) -> None:
    """--ws-max-size: a frame that announces more is refused by its head, before its payload is here."""

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            if message <= size:
                await client.send(Op.BINARY, bytes(message))
                assert await client.message() == bytes(message)
                await client.close()
                assert (await client.closed())[0] == 1000
                return
            server.log.expect(logging.INFO, r"WebSocket closed with 1009, .*RFC 6455")
            length = b"\xfe" + message.to_bytes(2, "big") if message < 1 << 16 else b"\xff" + message.to_bytes(8, "big")
            await client.write(b"\x82" + length + bytes(4))
            code, reason = await client.closed()
            assert code == 1009
            assert reason
            await client.ended()

    serving(backend, Application(echo), scenario, ws_max_size=size)


def test_message_size_over_fragments(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.INFO, "1009")
        async with opened(server) as client:
            await client.send(Op.BINARY, bytes(600), fin=False)
            await client.send(Op.CONTINUATION, bytes(600))
            assert (await client.closed())[0] == 1009
            await client.ended()

    serving(backend, Application(echo), scenario, ws_max_size=1000)


@pytest.mark.parametrize(("megabytes", "options"), [(8, {}), (17, {"ws_inflate_ratio": "off"})], ids=["ratio", "size"])
def test_deflate_bomb(backend: Backend, megabytes: int, options: dict[str, Any]) -> None:
    """RFC 7692 §8: a few kilobytes must not become megabytes; the process does not grow by what was refused."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        app.note(await socket.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.INFO, r"WebSocket closed with 1009, .*RFC")
        async with opened(server, "/", (b"sec-websocket-extensions", b"permessage-deflate")) as client:
            deflate = zlib.compressobj(9, wbits=-15)
            bomb = deflate.compress(bytes(megabytes * MIB)) + deflate.flush(zlib.Z_SYNC_FLUSH)
            await client.send(Op.BINARY, bomb.removesuffix(b"\0\0\xff\xff"), rsv=4)
            assert (await client.closed())[0] == 1009
            await client.ended()
            assert (await app.noted())["code"] == 1009

    serving(backend, app, scenario, **options)


def test_empty_fragments(backend: Backend) -> None:
    """--ws-max-fragments: frames that bring nothing reach no size limit and end all the same."""

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.INFO, r"WebSocket closed with 1009, more fragments")
        async with opened(server) as client:
            await client.write(encode(Op.TEXT, b"", fin=False) + encode(Op.CONTINUATION, b"", fin=False) * 100)
            assert (await client.closed())[0] == 1009
            await client.ended()

    serving(backend, Application(echo), scenario, ws_max_fragments=100)


def test_ping_flood_to_a_peer_that_reads_nothing(backend: Backend) -> None:
    """Pongs that are not taken stop the reading: the server holds a bounded number of them."""

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            client.connection.pause_reading()
            before = memory(os.getpid())
            await client.connection.flood(encode(Op.PING, bytes(125)) * 500, MOST)
            assert memory(os.getpid()) - before < 8 * MIB
            client.reset()

    serving(backend, Application(echo), scenario)


def test_queue_limit_pauses_reading(backend: Backend) -> None:
    """--ws-max-queue: a message more waits in the network; all arrive once the application takes them."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        await gate.wait()
        count = 0
        while (data := await socket.next()) is not None:
            assert data == bytes(50_000)
            count += 1
        app.note(count)

    gate = asyncio.Event()
    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            frame = encode(Op.BINARY, bytes(50_000))
            received = server.engine.stats()["bytes_received"]
            written = await client.connection.flood(frame * 20, MOST)
            # Four messages, and one buffer of what follows them.
            assert server.engine.stats()["bytes_received"] - received < 4 * 50_000 + 400_000
            gate.set()
            await client.connection.drain()
            await client.close()
            assert await client.closed() == (1000, "")
            assert await app.noted() == written // len(frame)

    serving(backend, app, scenario, ws_max_queue=4)


def test_large_messages_pause_reading_before_the_queue_is_full(backend: Backend) -> None:
    """A megabyte in the queue is enough, however few messages it is."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        await gate.wait()
        while await socket.next() is not None:
            pass

    gate = asyncio.Event()

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            received = server.engine.stats()["bytes_received"]
            await client.connection.flood(encode(Op.BINARY, bytes(700_000)), MOST)
            assert server.engine.stats()["bytes_received"] - received < 2 * 700_000 + 400_000
            gate.set()
            await client.close()
            assert await client.closed() == (1000, "")

    serving(backend, Application(handler), scenario)


def test_a_slow_reader_makes_send_wait(backend: Backend) -> None:
    """`send()` waits above the high-water mark and goes on when the peer reads; nothing is lost or reordered."""
    total = 400

    async def handler(socket: Socket) -> None:
        await socket.accept()
        for number in range(total):
            await socket.put(number.to_bytes(4, "big") * 10_000)
            sent.append(number)
        await socket.next()

    sent: list[int] = []

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            client.connection.pause_reading()
            stalled = -1
            while stalled != len(sent):  # until a thousand turns of the loop bring nothing more
                stalled = len(sent)
                for _ in range(1000):
                    await asyncio.sleep(0)
            assert 0 < stalled < total
            client.connection.resume_reading()
            for number in range(total):
                assert await client.message() == number.to_bytes(4, "big") * 10_000
            assert len(sent) == total
            await client.close()
            assert await client.closed() == (1000, "")

    serving(backend, Application(handler), scenario)


def test_a_reader_that_stands_still_is_given_up(backend: Backend) -> None:
    """--timeout-write: `send()` does not wait for ever."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        try:
            while True:
                await socket.put(bytes(50_000))
        except OSError as error:
            app.note(error)

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.INFO, "timeout_write")
        async with opened(server) as client:
            client.connection.pause_reading()
            assert isinstance(await app.noted(), OSError)

    serving(backend, app, scenario, timeout_write=0.3)


def test_a_peer_without_pongs_is_closed(backend: Backend) -> None:
    """--ws-ping-interval, --ws-ping-timeout: 1011 to the peer, 1006 or 1011 to the application."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        app.note(await socket.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.INFO, r"1011, no pong in time \(ws_ping_timeout\)")
        async with opened(server) as client:
            assert (await client.frame()).op is Op.PING
            code, reason = await client.closed()
            assert code == 1011
            assert "pong" in reason
            message = await app.noted()
            assert (message["type"], message["code"]) in (("websocket.disconnect", code) for code in (1006, 1011))
            await client.ended()

    serving(backend, app, scenario, ws_ping_interval=0.1, ws_ping_timeout=0.1)


def test_pongs_keep_a_quiet_connection_open(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            for _ in range(5):
                ping = await client.frame()
                assert ping.op is Op.PING
                await client.send(Op.PONG, ping.data)
            await client.text("awake")
            frame = await client.frame()
            while frame.op is Op.PING:
                frame = await client.frame()
            assert frame.data == b"awake"
            client.reset()

    serving(backend, Application(echo), scenario, ws_ping_interval=0.1, ws_ping_timeout=2)


def test_pongs_behind_a_full_queue_do_not_count_against_the_peer(backend: Backend) -> None:
    """While the application does not take messages nothing is read: the pong is on its way, not missing."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        await gate.wait()
        while (text := await socket.next()) is not None:
            app.note(text)
        app.note("end")

    gate = asyncio.Event()
    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            for number in range(5):
                await client.text(str(number))
            # More pings than time-outs have to pass for a silent peer.
            for _ in range(2):
                ping = await client.frame()
                assert ping.op is Op.PING
                await client.send(Op.PONG, ping.data)
            gate.set()
            for number in range(5):
                assert await app.noted() == str(number)
            await client.close()
            frame = await client.frame()
            while frame.op is Op.PING:
                frame = await client.frame()
            assert frame.op is Op.CLOSE
            assert await app.noted() == "end"

    serving(backend, app, scenario, ws_max_queue=2, ws_ping_interval=0.1, ws_ping_timeout=0.2)


def test_pings_can_be_switched_off(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        async with opened(server) as client, opened(server) as other:
            for text in ("a", "b"):
                await client.text(text)
                assert await client.message() == text
            await client.close()
            assert await client.closed() == (1000, "")
            await other.close()
            assert await other.closed() == (1000, "")

    serving(backend, Application(echo), scenario, ws_ping_interval="off")
