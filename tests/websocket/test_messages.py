"""Messages both ways: kinds, sizes, fragments, compression. RFC 6455 §5.4–§5.7, §6; RFC 7692 §7."""

import asyncio
import random
import zlib

import pytest
import websockets
from support.backends import over_tcp
from support.inprocess import Backend, InProcess, serving

from websocket.applications import Application, Socket, echo
from websocket.peer import Op, encode, opened, peer

chance = random.Random(6455)
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 1_000_003)


def url(server: InProcess) -> str:
    return f"ws://127.0.0.1:{server.address[1]}/"


@over_tcp
@pytest.mark.parametrize("compression", ["deflate", None])
def test_echo_with_an_independent_client(backend: Backend, compression: str | None) -> None:
    async def scenario(server: InProcess) -> None:
        async with websockets.connect(url(server), compression=compression, max_size=None) as client:
            for size in SIZES:
                data = chance.randbytes(size)
                text = data.decode("latin-1")
                for message in (text, data):
                    await client.send(message)
                    assert await client.recv() == message
            await client.send(["frag", "", "mented ", "☕"])
            assert await client.recv() == "fragmented ☕"
            await (await client.ping(b"are you there"))
        assert (client.close_code, client.close_reason) == (1000, "")

    serving(backend, Application(echo), scenario)


FRAGMENTS: dict[str, tuple[list[tuple[int, bytes, bool]], str | bytes]] = {
    "text in three": ([(Op.TEXT, b"a", False), (Op.CONTINUATION, b"b", False), (Op.CONTINUATION, b"c", True)], "abc"),
    "empty frames": ([(Op.BINARY, b"", False), (Op.CONTINUATION, b"", False), (Op.CONTINUATION, b"", True)], b""),
    "a character cut in two": ([(Op.TEXT, b"\xe2\x82", False), (Op.CONTINUATION, b"\xac", True)], "€"),
    "a ping in between": ([(Op.BINARY, b"1", False), (Op.PING, b"!", True), (Op.CONTINUATION, b"2", True)], b"12"),
}


@pytest.mark.parametrize("name", FRAGMENTS)
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "bytewise"])
def test_fragments(backend: Backend, name: str, cut: bool) -> None:
    frames, message = FRAGMENTS[name]
    data = b"".join(encode(op, payload, fin=fin) for op, payload, fin in frames)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            await client.write(*(data[at : at + 1] for at in range(len(data))) if cut else [data])
            if any(op == Op.PING for op, _, _ in frames):
                pong = await client.frame()
                assert (pong.op, pong.data) == (Op.PONG, b"!")
            assert await client.message() == message
            await client.close()
            assert await client.closed() == (1000, "")

    serving(backend, Application(echo), scenario)


def test_compressed_frames_by_hand(backend: Backend) -> None:
    """Context is kept between messages, and an uncompressed message may come in between (RFC 7692 §6)."""

    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            await client.handshake("/", (b"sec-websocket-extensions", b"permessage-deflate"))
            deflate, inflate = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)
            for text in (b"tea " * 100, b"tea " * 100, b"coffee " * 50):
                data = deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)
                await client.send(Op.TEXT, data.removesuffix(b"\0\0\xff\xff"), rsv=4)
                frame = await client.frame()
                assert frame.compressed
                assert len(frame.data) < len(text) / 4
                assert inflate.decompress(frame.data + b"\0\0\xff\xff") == text
                await client.text("plain")
                frame = await client.frame()
                plain = inflate.decompress(frame.data + b"\0\0\xff\xff") if frame.compressed else frame.data
                assert plain == b"plain"
            await client.close()
            await client.closed()

    serving(backend, Application(echo), scenario)


def test_what_the_application_may_send(backend: Backend) -> None:
    """bytes and what holds bytes; a text with every kind of character; None for the other key."""
    sent: list[tuple[dict[str, object], str | bytes]] = [
        ({"text": "plain"}, "plain"),
        ({"text": ""}, ""),
        ({"text": "\0 ß ☕ 🌊"}, "\0 ß ☕ 🌊"),
        ({"bytes": b"\xff\0"}, b"\xff\0"),
        ({"bytes": b""}, b""),
        ({"bytes": bytearray(b"array"), "text": None}, b"array"),
        ({"bytes": memoryview(b"view")}, b"view"),
        ({"text": "with none", "bytes": None}, "with none"),
    ]

    async def handler(socket: Socket) -> None:
        await socket.accept()
        for keys, _ in sent:
            await socket.send({"type": "websocket.send", **keys})

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            for _, wanted in sent:
                assert await client.message() == wanted
            assert await client.closed() == (1000, "")

    serving(backend, Application(handler), scenario)


def test_pings_are_answered_and_pongs_taken(backend: Backend) -> None:
    """RFC 6455 §5.5.2, §5.5.3: also while the application is busy with something else."""
    gate = asyncio.Event()

    async def handler(socket: Socket) -> None:
        await socket.accept()
        await gate.wait()
        assert await socket.next() is None

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            await client.send(Op.PONG, b"nobody asked")
            for payload in (b"", b"x", bytes(125)):
                await client.send(Op.PING, payload)
                pong = await client.frame()
                assert (pong.op, pong.data) == (Op.PONG, payload)
            gate.set()
            await client.close()
            assert await client.closed() == (1000, "")

    serving(backend, Application(handler), scenario)


@pytest.mark.parametrize("clients", [64])
def test_broadcast_arrives_everywhere_in_order(backend: Backend, clients: int) -> None:
    messages = [f"message {number}" for number in range(50)]
    room: set[Socket] = set()
    full = asyncio.Event()

    async def handler(socket: Socket) -> None:
        await socket.accept()
        room.add(socket)
        if len(room) == clients:
            full.set()
        try:
            while (text := await socket.next()) is not None:
                for other in room:
                    await other.put(text)
        finally:
            room.remove(socket)

    async def scenario(server: InProcess) -> None:
        async def listen(number: int) -> list[str | bytes]:
            async with opened(server) as client:
                await full.wait()
                if number == 0:
                    for message in messages:
                        await client.text(message)
                received = [await client.message() for _ in messages]
                await done.wait()
                await client.close()
                assert await client.closed() == (1000, "")
                return received

        done = asyncio.Barrier(clients)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(listen(number)) for number in range(clients)]
        assert all(task.result() == messages for task in tasks)

    serving(backend, Application(handler), scenario)
