"""How a WebSocket ends, from either side. RFC 6455 §5.5.1, §7; ASGI WebSocket: close, disconnect."""

import asyncio
import logging

import pytest
import websockets
from support.backends import HTTP2_TLS, over_tcp
from support.inprocess import Backend, InProcess, serving

from websocket.applications import Application, Socket, disconnect, echo
from websocket.peer import Op, close_data, encode, opened, peer

ALSO = (HTTP2_TLS,)

PEER_CLOSES: dict[str, tuple[bytes, tuple[int, str], int]] = {
    "normal": (close_data(1000), (1000, ""), 1000),
    "going away": (close_data(1001, b"tab closed"), (1001, "tab closed"), 1001),
    "no code": (b"", (1005, ""), 1005),
    "for libraries": (close_data(3000, "grün".encode()), (3000, "grün"), 3000),
    "for applications": (close_data(4999, b"x" * 123), (4999, "x" * 123), 4999),
}


@pytest.mark.parametrize("name", PEER_CLOSES)
def test_peer_closes(backend: Backend, name: str) -> None:
    """The code is echoed, the application gets code and reason, the server ends TCP first (RFC 6455 §7.1.1)."""
    payload, (code, reason), answer = PEER_CLOSES[name]

    async def handler(socket: Socket) -> None:
        await socket.accept()
        app.note(await socket.receive())
        app.note(await socket.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            await client.send(Op.CLOSE, payload)
            assert await client.closed() == (answer, "")
            await client.ended()
            assert await app.noted() == disconnect(code, reason)
            assert await app.noted() == disconnect(code, reason)

    serving(backend, app, scenario)


BROKEN: dict[str, tuple[bytes, int]] = {
    "half a code": (encode(Op.CLOSE, b"\x03"), 1002),
    "code that is reserved": (encode(Op.CLOSE, close_data(1005)), 1002),
    "code below all": (encode(Op.CLOSE, close_data(999)), 1002),
    "reason that is not UTF-8": (encode(Op.CLOSE, close_data(1000, b"\xff")), 1007),
    "text that is not UTF-8": (encode(Op.TEXT, b"\xc3\x28"), 1007),
    "no mask": (encode(Op.TEXT, b"plain", mask=False), 1002),
    "reserved bit": (encode(Op.TEXT, b"x", rsv=4), 1002),
    "unknown opcode": (encode(3, b"x"), 1002),
    "unknown control": (encode(11, b""), 1002),
    "long ping": (encode(Op.PING, bytes(126)), 1002),
    "ping in pieces": (encode(Op.PING, b"", fin=False), 1002),
    "continuation of nothing": (encode(Op.CONTINUATION, b"x"), 1002),
    "text inside a text": (encode(Op.TEXT, b"a", fin=False) + encode(Op.TEXT, b"b"), 1002),
}


@pytest.mark.parametrize("name", BROKEN)
def test_peer_breaks_the_protocol(backend: Backend, name: str) -> None:
    """A close frame with a reason, one log line, the end; what follows is not looked at (RFC 6455 §7.1.7)."""
    data, code = BROKEN[name]

    async def handler(socket: Socket) -> None:
        await socket.accept()
        app.note(await socket.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.INFO, rf"WebSocket closed with {code}, .*\(RFC (6455|7692) §")
        async with opened(server) as client:
            await client.write(data + encode(Op.TEXT, b"never seen"))
            found, reason = await client.closed()
            assert found == code
            assert "RFC" in reason
            await client.ended()
            message = await app.noted()
            assert message["type"] == "websocket.disconnect"
            assert message["code"] == code

    serving(backend, app, scenario)


@over_tcp
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "bye"), (1011, "x" * 123), (3456, "ü"), (4000, "")])
def test_application_closes(backend: Backend, code: int, reason: str) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        await socket.close(code, reason)
        app.note(await socket.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with websockets.connect(f"ws://127.0.0.1:{server.address[1]}/") as client:
            await client.wait_closed()
            assert (client.close_code, client.close_reason) == (code, reason)
        message = await app.noted()
        assert (message["type"], message["code"]) == ("websocket.disconnect", code)

    serving(backend, app, scenario)


def test_close_without_keys_is_1000(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        await socket.send({"type": "websocket.close"})

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            assert await client.closed() == (1000, "")
            await client.close()
            await client.ended()

    serving(backend, Application(handler), scenario)


def test_messages_before_the_close_are_answered(backend: Backend) -> None:
    """In one piece: messages, then the end. The application that waits for them can answer before the end."""

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            await client.write(encode(Op.TEXT, b"1") + encode(Op.TEXT, b"2") + encode(Op.CLOSE, close_data(4000)))
            assert await client.message() == "1"
            assert await client.message() == "2"
            assert await client.closed() == (4000, "")
            await client.ended()

    serving(backend, Application(echo), scenario)


def test_messages_before_a_broken_frame_are_answered(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.INFO, "WebSocket closed with 1002")
        async with opened(server) as client:
            await client.write(encode(Op.TEXT, b"good") + encode(Op.TEXT, b"bad", rsv=2) + encode(Op.PING))
            assert await client.message() == "good"
            assert (await client.closed())[0] == 1002
            await client.ended()

    serving(backend, Application(echo), scenario)


def test_a_close_behind_messages_that_nobody_takes_is_answered(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        await gate.wait()
        app.note([await socket.receive() for _ in range(2)])

    gate = asyncio.Event()
    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            await client.write(encode(Op.TEXT, b"1") + encode(Op.CLOSE, close_data(4000, b"x")))
            client.connection.end()
            frames = await client.connection.rest()
            assert frames in (b"", b"\x88\x02\x0f\xa0")
            gate.set()
            assert await app.noted() == [{"type": "websocket.receive", "text": "1"}, disconnect(4000, "x")]

    serving(backend, app, scenario)


def test_both_close_at_once(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        await socket.next()
        await socket.close(4001)
        app.note(await socket.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            await client.write(encode(Op.TEXT, b"go") + encode(Op.CLOSE, close_data(4002)))
            code, _ = await client.closed()
            assert code in (4001, 4002)
            await client.ended()
            assert (await app.noted())["code"] in (4001, 4002)

    serving(backend, app, scenario)


def test_frames_after_our_close_are_dropped_until_the_peer_closes(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        await socket.close(1000)
        app.note(await socket.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            assert await client.closed() == (1000, "")
            for number in range(1000):
                await client.text(f"late {number}")
            await client.close()
            await client.ended()
            assert (await app.noted())["type"] == "websocket.disconnect"

    serving(backend, app, scenario)


def test_close_when_unread_messages_fill_the_queue(backend: Backend) -> None:
    """An application that leaves messages unread does not keep the closing handshake from ending."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        await gate.wait()

    gate = asyncio.Event()

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            for number in range(10):
                await client.text(f"unread {number}")
            await client.send(Op.PING, b"all are there")
            gate.set()
            assert await client.closed() == (1000, "")
            await client.close()
            async with asyncio.timeout(5):  # below ws_close_timeout
                await client.ended()

    serving(backend, Application(handler), scenario, ws_max_queue=4, ws_close_timeout=10)


def test_peer_that_never_answers_our_close(backend: Backend) -> None:
    """--ws-close-timeout bounds the wait (and never cuts below the 2 s that every closing connection gets)."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        await socket.close(1000)
        app.note(await socket.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            assert await client.closed() == (1000, "")
            assert await app.noted() == disconnect(1006)
            await client.ended()

    serving(backend, app, scenario, ws_close_timeout=0.1)


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_peer_vanishes(backend: Backend, reset: bool) -> None:
    """One disconnect with 1006, no traceback; what arrived before an orderly end is delivered first."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        assert await socket.next() == "hello"
        await socket.put("seen")
        app.note(await socket.receive())
        app.note(await socket.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            await client.text("hello")
            assert await client.message() == "seen"
            client.reset() if reset else client.connection.end()
            assert await app.noted() == disconnect(1006)
            assert await app.noted() == disconnect(1006)

    serving(backend, app, scenario)


def test_messages_before_a_fin_are_delivered(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        await gate.wait()
        while (text := await socket.next()) is not None:
            app.note(text)
        app.note(None)

    gate = asyncio.Event()
    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            for number in range(100):
                await client.text(str(number))
            client.connection.end()
            gate.set()
            for number in range(100):
                assert await app.noted() == str(number)
            assert await app.noted() is None

    serving(backend, app, scenario, ws_max_queue=4)


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_peer_vanishes_before_accept(backend: Backend, reset: bool) -> None:
    async def handler(socket: Socket) -> None:
        await socket.receive()
        app.note("connected")
        app.note(await socket.receive())
        try:
            await socket.send({"type": "websocket.accept"})
        except OSError as error:
            app.note(error)

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            await client.offer()
            assert await app.noted() == "connected"
            client.reset() if reset else client.connection.end()
            assert await app.noted() == disconnect(1006)
            assert isinstance(await app.noted(), OSError)

    serving(backend, app, scenario)


def test_peer_vanishes_in_the_middle_of_a_frame(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        app.note(await socket.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            await client.write(encode(Op.BINARY, bytes(5000))[:3000])
            client.connection.end()
            assert await app.noted() == disconnect(1006)

    serving(backend, app, scenario)


def test_closing_what_the_peer_has_closed_is_no_error(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        assert await socket.next() is None
        await socket.close(1000)
        app.note("closed")

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            await client.close(1001)
            assert await client.closed() == (1001, "")
            assert await app.noted() == "closed"

    serving(backend, app, scenario)


@over_tcp
def test_echo_ends_cleanly_with_an_independent_client(backend: Backend) -> None:
    app = Application(echo)

    async def scenario(server: InProcess) -> None:
        async with websockets.connect(f"ws://127.0.0.1:{server.address[1]}/") as client:
            await client.send("x")
            assert await client.recv() == "x"
            await client.close(4321, "enough")
        assert (client.close_code, client.close_reason) == (4321, "enough") or client.close_code == 4321
        await server.wait_idle()
        assert app.running == 0

    serving(backend, app, scenario)
