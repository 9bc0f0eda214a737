"""What the application does wrong or leaves half done: returns, errors, orders of messages, cancelled waits."""

import asyncio
import gc
import logging
from typing import Any

import pytest
from support.inprocess import Backend, InProcess, serving

from swell._core import ClientDisconnected, MessageError
from websocket.applications import Application, Socket, disconnect
from websocket.peer import Op, encode, opened, peer


def test_returning_closes_with_1000(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        await socket.put("bye")

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            assert await client.message() == "bye"
            assert await client.closed() == (1000, "")
            await client.close()
            await client.ended()

    serving(backend, Application(handler), scenario)


@pytest.mark.parametrize("suspended", [False, True])
def test_raising_closes_with_1011(backend: Backend, suspended: bool) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        if suspended:
            await socket.next()
        raise RuntimeError("broken on purpose")

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.ERROR, "exception in the ASGI application")
        async with opened(server) as client:
            await client.text("go")
            code, reason = await client.closed()
            assert code == 1011
            assert "purpose" not in reason
            await client.close(1011)
            await client.ended()
        assert "broken on purpose" in server.log.tracebacks()

    serving(backend, Application(handler), scenario)


@pytest.mark.parametrize("raising", [True, False])
def test_ending_before_accept_is_500(backend: Backend, raising: bool) -> None:
    async def handler(socket: Socket) -> None:
        await socket.receive()
        if raising:
            raise RuntimeError("broken on purpose")

    async def scenario(server: InProcess) -> None:
        pattern = "exception in the ASGI application" if raising else "returned without accepting or closing"
        server.log.expect(logging.ERROR, pattern)
        async with peer(server) as client:
            await client.offer()
            response = await client.refused(500)
            assert b"purpose" not in response.body

    serving(backend, Application(handler), scenario)


def test_sending_to_a_peer_that_has_gone(backend: Backend) -> None:
    """`ClientDisconnected`, an OSError; let through, it is no error in the log."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        assert await socket.next() is None
        with pytest.raises(ClientDisconnected) as caught:
            await socket.put("anybody there?")
        assert isinstance(caught.value, OSError)
        app.note("raised")
        await socket.put("let through")

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            client.reset()
            assert await app.noted() == "raised"

    serving(backend, app, scenario)


def test_a_disconnect_that_was_taken_out_of_its_group_is_no_error(backend: Backend) -> None:
    """As a framework does that unwraps groups: the exception's context is the group that holds it."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        assert await socket.next() is None
        app.note("ending")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(socket.put("anybody there?"))
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0]  # noqa: B904 - the context is the point

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            client.reset()
            assert await app.noted() == "ending"

    serving(backend, app, scenario)


ACCEPT: dict[str, Any] = {"type": "websocket.accept"}
CLOSE: dict[str, Any] = {"type": "websocket.close"}
SEND: dict[str, Any] = {"type": "websocket.send"}
HI: dict[str, Any] = {**SEND, "text": "hi"}
DENY: dict[str, Any] = {"type": "websocket.http.response.start", "status": 401, "headers": []}

#: What is wrong → (messages that are right, the wrong one, words of the error).
WRONG: dict[str, tuple[list[dict[str, Any]], Any, list[str]]] = {
    "no dict": ([], ["websocket.accept"], ["dict", "list"]),
    "no type": ([], {}, ['"type"']),
    "type of the wrong type": ([], {"type": b"websocket.accept"}, ['"type"', "str", "bytes"]),
    "unknown type": ([], {"type": "websocket.hello"}, ["websocket.hello", "websocket.accept"]),
    "http message": (
        [],
        {"type": "http.response.start", "status": 200},
        ["http.response.start", "websocket.http.response.start"],
    ),
    "send before accept": ([], HI, ["websocket.send", "websocket.accept first"]),
    "accept twice": ([ACCEPT], ACCEPT, ["websocket.accept", "already accepted"]),
    "denial after accept": ([ACCEPT], DENY, ["websocket.http.response.start", "already accepted"]),
    "send after close": ([ACCEPT, CLOSE], HI, ["websocket.send", "websocket.close was already sent"]),
    "close twice": ([ACCEPT, CLOSE], CLOSE, ["websocket.close", "already sent"]),
    "send nothing": ([ACCEPT], SEND, ["websocket.send", '"bytes"', '"text"', "exactly one"]),
    "send both": ([ACCEPT], {**HI, "bytes": b"hi"}, ["websocket.send", "exactly one"]),
    "text of bytes": ([ACCEPT], {**SEND, "text": b"hi"}, ["websocket.send", "text", "str", "bytes"]),
    "bytes of str": ([ACCEPT], {**SEND, "bytes": "hi"}, ["websocket.send", "bytes", "str"]),
    "lone surrogate": ([ACCEPT], {**SEND, "text": "\ud800"}, ["websocket.send", "text", "UTF-8", "RFC 6455 §5.6"]),
    "code that is no number": ([ACCEPT], {**CLOSE, "code": "1000"}, ["websocket.close", "code", "integer", "str"]),
    "code for reports only": ([ACCEPT], {**CLOSE, "code": 1006}, ["websocket.close", "code", "1006", "RFC 6455 §7.4"]),
    "code out of range": ([ACCEPT], {**CLOSE, "code": 70000}, ["websocket.close", "code", "70000"]),
    "reason of bytes": ([ACCEPT], {**CLOSE, "reason": b"x"}, ["websocket.close", "reason", "str", "bytes"]),
    "long reason": ([ACCEPT], {**CLOSE, "reason": "ü" * 62}, ["websocket.close", "reason", "123", "RFC 6455 §5.5"]),
    "reason that is no text": ([ACCEPT], {**CLOSE, "reason": "\ud800"}, ["websocket.close", "reason", "UTF-8"]),
    "subprotocol of bytes": ([], {**ACCEPT, "subprotocol": b"a"}, ["websocket.accept", "subprotocol", "str", "bytes"]),
    "subprotocol that splits": ([], {**ACCEPT, "subprotocol": "a\r\nx: y"}, ["websocket.accept", "subprotocol"]),
    "subprotocol that is no text": ([], {**ACCEPT, "subprotocol": "\ud800"}, ["websocket.accept", "subprotocol"]),
    "headers of str": ([], {**ACCEPT, "headers": [("a", "b")]}, ["websocket.accept", "headers", "bytes", "str"]),
    "headers no pairs": ([], {**ACCEPT, "headers": [b"abc"]}, ["websocket.accept", "headers", "pairs"]),
    "header that splits": ([], {**ACCEPT, "headers": [(b"a", b"b\r\nc: d")]}, ["websocket.accept", "headers", "a"]),
    "header of the handshake": (
        [],
        {**ACCEPT, "headers": [(b"Sec-WebSocket-Accept", b"x")]},
        ["websocket.accept", "headers", "sec-websocket-accept", "RFC 6455 §4.2.2"],
    ),
    "subprotocol twice": (
        [],
        {**ACCEPT, "subprotocol": "a", "headers": [(b"sec-websocket-protocol", b"b")]},
        ["websocket.accept", "sec-websocket-protocol", "not both"],
    ),
    "denial without status": ([], {"type": DENY["type"]}, ["websocket.http.response.start", "status"]),
    "denial body first": (
        [],
        {"type": "websocket.http.response.body", "body": b""},
        ["websocket.http.response.body"],
    ),
    "accept after denial": ([DENY], ACCEPT, ["websocket.accept", "denied"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_messages(backend: Backend, name: str) -> None:
    """Every error names the message, the key and the rule, and changes nothing."""
    right, wrong, words = WRONG[name]

    async def handler(socket: Socket) -> None:
        await socket.receive()
        for message in right:
            await socket.send(message)
        with pytest.raises(MessageError) as caught:
            await socket.send(wrong)
        app.note(str(caught.value))
        accepted, closed = ACCEPT in right, CLOSE in right
        if right == [DENY]:
            await socket.send({"type": "websocket.http.response.body"})
        elif not accepted:
            await socket.send(ACCEPT)
        if not closed and right != [DENY]:
            await socket.put("unharmed")
            await socket.close()

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            await client.offer()
            text = await app.noted()
            assert all(word in text for word in words), text
            if right == [DENY]:
                await client.refused(401)
            else:
                head = await client.accepted()
                assert [key for key, _ in head.fields if key in (b"a", b"c", b"x")] == []
                if CLOSE not in right:
                    assert await client.message() == "unharmed"
                assert await client.closed() == (1000, "")
                await client.close()
                await client.ended()

    serving(backend, app, scenario)


def test_a_cancelled_receive_loses_nothing(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.receive(), 0.01)
        app.note("waiting")
        app.note([await socket.next() for _ in range(4)])

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            assert await app.noted() == "waiting"
            await client.write(b"".join(encode(Op.TEXT, text) for text in (b"1", b"2", b"3", b"4")))
            assert await app.noted() == ["1", "2", "3", "4"]
            await client.close()
            assert (await client.closed())[0] == 1000

    serving(backend, app, scenario)


def test_a_receive_cancelled_when_its_message_is_there_loses_nothing(backend: Backend) -> None:
    """The message has come and the task has not run yet when it is cancelled."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        (server,) = servers
        task = asyncio.ensure_future(socket.receive())
        await asyncio.sleep(0)
        before = server.engine.stats()["bytes_received"]
        app.note("waiting")
        while server.engine.stats()["bytes_received"] == before:  # noqa: ASYNC110 (to run right after the turn)
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        first = [] if task.cancelled() else [task.result()["text"]]
        app.note(first + [await socket.next() for _ in range(2 - len(first))])

    servers: list[InProcess] = []
    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        servers.append(server)
        async with opened(server) as client:
            assert await app.noted() == "waiting"
            await client.text("1")
            await client.text("2")
            assert await app.noted() == ["1", "2"]
            await client.close()
            await client.closed()

    serving(backend, app, scenario)


def test_abandoned_waits_leave_nothing_behind(backend: Backend) -> None:
    """Polling with a time-out for hours must not pile up futures."""

    def abandoned() -> int:
        gc.collect()
        return sum(type(found) is asyncio.Future and found.cancelled() for found in gc.get_objects())

    async def handler(socket: Socket) -> None:
        before = abandoned()  # earlier tests of this process may have left some
        await socket.accept()
        for _ in range(100):
            task = asyncio.ensure_future(socket.receive())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        del task
        app.note("polled")
        assert await socket.next() == "still there"
        app.note(abandoned() - before)

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            assert await app.noted() == "polled"
            await client.text("still there")
            assert await app.noted() < 10
            assert await client.closed() == (1000, "")

    serving(backend, app, scenario)


def test_a_task_that_outlives_the_application_finds_the_peer_gone(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        kept.append(socket)

    kept: list[Socket] = []

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            assert await client.closed() == (1000, "")
            await client.close()
            await client.ended()  # only our end is missing now
            for _ in range(2):
                with pytest.raises(ClientDisconnected):
                    await kept[0].put("late")
                assert (await kept[0].receive())["type"] == "websocket.disconnect"
                client.connection.end()
                await server.wait_idle()

    serving(backend, Application(handler), scenario)


def test_several_receivers_get_the_messages_in_order(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        tasks = [asyncio.ensure_future(socket.next()) for _ in range(5)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[2].cancel()
        app.note("waiting")
        app.note([await task for task in (tasks[1], tasks[3], tasks[4])])
        rest = [asyncio.ensure_future(socket.receive()) for _ in range(3)]
        app.note([await task for task in rest])

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            assert await app.noted() == "waiting"
            await client.write(b"".join(encode(Op.TEXT, text) for text in (b"1", b"2", b"3")))
            assert await app.noted() == ["1", "2", "3"]
            await client.close()
            await client.closed()
            assert await app.noted() == [disconnect(1000)] * 3

    serving(backend, app, scenario)


def test_a_receive_that_is_not_awaited_takes_nothing(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()
        unused = socket.receive()
        app.note(await socket.next())
        del unused

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            await client.text("kept")
            assert await app.noted() == "kept"
            assert await client.closed() == (1000, "")

    serving(backend, app, scenario)


def test_sending_from_another_task_and_from_a_callback(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept()

        async def ticks() -> None:
            for number in range(5):
                await socket.put(f"tick {number}")
                await asyncio.sleep(0)

        await asyncio.gather(ticks(), asyncio.create_task(ticks()))
        await socket.next()

    async def scenario(server: InProcess) -> None:
        async with opened(server) as client:
            got = sorted([str(await client.message()) for _ in range(10)])
            assert got == sorted(f"tick {number}" for number in range(5) for _ in range(2))
            await client.close()
            assert await client.closed() == (1000, "")

    serving(backend, Application(handler), scenario)
