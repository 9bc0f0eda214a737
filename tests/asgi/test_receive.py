"""`receive()`: the request body, piece by piece, and messages nobody took (ASGI HTTP 2.5, "Request")."""

import asyncio
import functools
from typing import Any

import pytest
from support.apps import answer, body, read_body, start
from support.backends import HTTP2_TLS, TCP, UNIX, over
from support.client import Connection
from support.inprocess import App, Backend, InProcess, Message, Receive, Scope, Send, serving, wait_until

ALSO = (HTTP2_TLS,)  # with bytes in every size and order

BIG = bytes(range(256)) * 12_000  # 3 MB
LARGE = bytes(20_000_000)  # more than the buffers on the way hold


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, await read_body(receive))


def talk(backend: Backend, app: App, conversation: Any, **options: Any) -> None:
    """Run `conversation(client, server)` on one connection."""

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await conversation(client, server)

    serving(backend, app, scenario, **options)


def test_no_body_is_one_empty_message(backend: Backend) -> None:
    messages: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        messages.append(await receive())
        await answer(send)

    async def conversation(client: Connection, server: InProcess) -> None:
        for _ in range(2):
            await client.get()

    talk(backend, app, conversation)
    assert messages == [{"type": "http.request", "body": b"", "more_body": False}] * 2
    assert messages[0] is not messages[1]


def test_a_body_that_came_with_the_head_is_one_message(backend: Backend) -> None:
    messages: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        messages.append(await receive())
        await answer(send)

    async def conversation(client: Connection, server: InProcess) -> None:
        await client.get(method="POST", body=b"whole")

    talk(backend, app, conversation)
    assert messages == [{"type": "http.request", "body": b"whole", "more_body": False}]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_arrives_whole(backend: Backend, chunked: bool) -> None:
    async def conversation(client: Connection, server: InProcess) -> None:
        async def in_pieces() -> None:
            await client.begin()
            for at in range(0, len(BIG), 50_000):
                await client.send_body(BIG[at : at + 50_000])
            await client.end_body()

        sending = asyncio.create_task(in_pieces() if chunked else client.request(method="POST", body=BIG))
        await asyncio.sleep(0)
        response = await client.response()
        await sending
        assert response.body == BIG
        assert (await client.get(method="POST", body=b"next")).body == b"next"

    talk(backend, echo, conversation)


def test_pieces_are_delivered_as_they_come(backend: Backend) -> None:
    taken: asyncio.Queue[Message] = asyncio.Queue()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await taken.put(message)
        await answer(send)

    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(length=9)
        for piece in (b"one", b"two", b"end"):
            await client.send_body(piece)
            assert (await taken.get())["body"] == piece
        await client.response()
        await client.begin()
        for piece in (b"first", b"second"):
            await client.send_body(piece)
            message = await taken.get()
            assert (message["body"], message["more_body"]) == (piece, True)
        await client.end_body()
        last = await taken.get()
        assert (last["body"], last["more_body"]) == (b"", False)
        await client.response()

    talk(backend, app, conversation)


def test_a_body_byte_by_byte(backend: Backend) -> None:
    async def conversation(client: Connection, server: InProcess) -> None:
        client.step = 1
        await client.begin()
        await client.send_body(b"slow")
        await client.send_body(b"ly")
        await client.end_body()
        assert (await client.response()).body == b"slowly"

    talk(backend, echo, conversation)


def test_receive_that_is_never_awaited_takes_nothing(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        forgotten = [receive() for _ in range(3)]
        data = await read_body(receive)
        del forgotten
        await answer(send, data)

    async def conversation(client: Connection, server: InProcess) -> None:
        assert (await client.get(method="POST", body=b"kept")).body == b"kept"

    talk(backend, app, conversation)


def test_wait_for_that_times_out_loses_nothing(backend: Backend) -> None:
    waiting = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receive(), 0.001)
        waiting.set()
        await answer(send, await read_body(receive))

    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(length=5)
        await waiting.wait()
        await client.send_body(b"abcde")
        assert (await client.response()).body == b"abcde"

    talk(backend, app, conversation)


@pytest.mark.parametrize("steps", range(6))
def test_a_receive_cancelled_in_the_moment_of_delivery_loses_nothing(backend: Backend, steps: int) -> None:
    """The task is cancelled so many steps of the loop after it began to wait, wherever the bytes are by then."""
    cancelled = 0
    got = bytearray()

    def taken(count: int) -> bool:
        return len(got) == count

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal cancelled
        while len(got) < 20:
            task = asyncio.ensure_future(receive())
            for _ in range(steps + 1):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                cancelled += 1
            else:
                got.extend(task.result()["body"])
        await answer(send, bytes(got))

    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(length=20)
        for number in range(20):
            await wait_until(functools.partial(taken, number))
            await client.send_body(b"%d" % (number % 10))
        assert (await client.response()).body == b"0123456789" * 2

    talk(backend, app, conversation)
    assert cancelled > 10


def test_a_receive_cancelled_right_after_the_turn_that_delivered_loses_nothing(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        before = running.engine.stats()["bytes_received"]
        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        # The turn that reads the body runs between two steps of this task; the first of them cancels.
        while running.engine.stats()["bytes_received"] == before:  # noqa: ASYNC110 - to be the first to run
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            await answer(send, b"again " + (await receive())["body"])
        else:
            await answer(send, b"had " + task.result()["body"])

    running: InProcess

    async def conversation(client: Connection, server: InProcess) -> None:
        nonlocal running
        running = server
        await client.begin(length=4)
        await wait_until(lambda: server.engine.active == 1)
        await client.send_body(b"data")
        assert (await client.response()).body.endswith(b" data")

    talk(backend, app, conversation)


def test_several_receives_at_once_get_every_piece_once(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        tasks = [asyncio.ensure_future(receive()) for _ in range(3)]
        await send(start())
        messages = await asyncio.gather(*tasks)
        await send(body(b"|".join(message["body"] for message in messages)))

    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(length=6)
        head = await client.head()
        assert head.status == 200
        got = b""
        for piece in (b"ab", b"cd", b"ef"):
            await client.send_body(piece)
            await asyncio.sleep(0.01)
        while chunk := await client.chunk():
            got += chunk
        assert await client.trailers() == []
        assert sorted(got.split(b"|")) == [b"ab", b"cd", b"ef"]

    talk(backend, app, conversation)


def test_waiting_receives_all_learn_of_the_end(backend: Backend) -> None:
    kinds: list[list[str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        tasks = [asyncio.ensure_future(receive()) for _ in range(3)]
        await asyncio.sleep(0)
        await answer(send)
        kinds.append([message["type"] for message in await asyncio.gather(*tasks)])
        kinds.append([(await receive())["type"]])

    async def conversation(client: Connection, server: InProcess) -> None:
        await client.get()

    talk(backend, app, conversation)
    assert kinds == [["http.disconnect"] * 3, ["http.disconnect"]]


def test_an_awaitable_cannot_be_awaited_twice(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        once = receive()
        await once
        with pytest.raises(RuntimeError, match="already awaited"):
            await once
        await answer(send)

    async def conversation(client: Connection, server: InProcess) -> None:
        await client.get()

    talk(backend, app, conversation)


def test_100_continue_is_sent_by_the_first_receive_and_not_before(backend: Backend) -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await answer(send, await read_body(receive))

    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(fields=[(b"expect", b"100-continue")], length=3)
        await client.wait_nothing(0.05)
        go.set()
        assert (await client.head()).status == 100
        await client.send_body(b"yes")
        assert (await client.response()).body == b"yes"
        # The connection lives on.
        assert (await client.get(method="POST", body=b"more")).body == b"more"

    talk(backend, app, conversation)


def test_100_continue_does_not_wait_for_anything_else_to_happen(backend: Backend) -> None:
    asked: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        before = running.engine.stats()["bytes_sent"]
        receiving = asyncio.ensure_future(receive())
        for _ in range(20):  # turns of the loop, in which no byte comes and no timer fires
            await asyncio.sleep(0)
        asked.append(running.engine.stats()["bytes_sent"] > before)
        await answer(send, (await receiving)["body"])

    running: InProcess
    go = asyncio.Event()

    async def conversation(client: Connection, server: InProcess) -> None:
        nonlocal running
        running = server
        await client.begin(fields=[(b"expect", b"100-continue")], length=3)
        await wait_until(lambda: server.engine.active == 1)
        go.set()
        assert (await client.head()).status == 100
        await client.send_body(b"yes")
        assert (await client.response()).body == b"yes"

    talk(backend, app, conversation)
    assert asked == [True]


def test_an_answer_without_receive_sends_no_100_and_closes(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no", 403)

    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(fields=[(b"expect", b"100-continue")], length=3)
        response = await client.response()
        assert (response.status, response.interim) == (403, [])
        await client.over(response)

    talk(backend, app, conversation)


def test_no_100_behind_the_head_of_the_response(backend: Backend) -> None:
    """A client that has the final status is asked for nothing, and would take the 100 for a part of the body."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"begun, ", more=True))
        await send(body(await read_body(receive)))

    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(fields=[(b"expect", b"100-continue")], length=3)
        assert (await client.head()).status == 200
        assert await client.chunk() == b"begun, "
        await client.send_body(b"yes")
        assert await client.chunk() == b"yes"
        assert await client.chunk() == b""

    talk(backend, app, conversation)


def test_a_body_that_nobody_asked_for_is_not_late(backend: Backend) -> None:
    """A client that has the final status may keep its body to itself (RFC 9110 §10.1.1)."""
    message: list[asyncio.Task[Message]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"begun, ", more=True))
        message.append(asyncio.create_task(receive()))
        await asyncio.sleep(0.5)
        await send(body(b"ended"))

    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(fields=[(b"expect", b"100-continue")], length=3)
        assert (await client.response()).body == b"begun, ended"
        assert (await message[0])["type"] == "http.disconnect"

    talk(backend, app, conversation, body_rate_grace=0.2)


def test_no_100_when_the_body_is_already_there(backend: Backend) -> None:
    async def conversation(client: Connection, server: InProcess) -> None:
        response = await client.get(method="POST", fields=[(b"expect", b"100-continue")], body=b"eager")
        assert (response.body, response.interim) == (b"eager", [])

    talk(backend, echo, conversation)


async def ignore(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"ignored")


@pytest.mark.parametrize("length", [1, 1000, 64 * 1024])
def test_a_small_unread_body_is_dropped_and_the_connection_kept(backend: Backend, length: int) -> None:
    async def conversation(client: Connection, server: InProcess) -> None:
        for _ in range(2):
            response = await client.get(method="POST", body=b"x" * length)
            assert response.body == b"ignored"
            assert response.field(b"connection") is None
        # Also when it comes only after the answer.
        await client.begin(length=length)
        assert (await client.response()).body == b"ignored"
        await client.send_body(b"x" * length)
        assert (await client.get()).body == b"ignored"

    talk(backend, ignore, conversation)


def test_a_large_unread_body_closes_the_connection_and_says_so(backend: Backend) -> None:
    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(length=64 * 1024 * 1024)
        response = await client.response()
        assert response.body == b"ignored"
        await client.over(response)

    talk(backend, ignore, conversation)


async def answer_largely(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, LARGE)


@over(TCP[0], UNIX)
def test_who_ends_instead_of_sending_the_rest_of_an_unread_body_gets_the_whole_answer(backend: Backend) -> None:
    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(length=1000)
        await client.send_body(b"x" * 500)
        assert (await client.head()).status == 200
        client.end()
        assert await client.readexactly(len(LARGE)) == LARGE

    talk(backend, answer_largely, conversation)


@over(TCP[0])
def test_who_is_slow_to_take_an_answer_need_not_send_the_rest_of_an_unread_body(backend: Backend) -> None:
    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(length=1000)
        await client.send_body(b"x" * 500)
        assert (await client.head()).status == 200
        client.pause_reading()
        await asyncio.sleep(0.6)
        client.resume_reading()
        assert await client.readexactly(len(LARGE)) == LARGE
        await client.over()

    talk(backend, answer_largely, conversation, timeout_header=0.3)


@over(TCP[0])
def test_an_unread_body_does_not_hold_up_the_end_of_the_server(backend: Backend) -> None:
    async def conversation(client: Connection, server: InProcess) -> None:
        await client.begin(length=1000)
        assert (await client.response()).body == b"ignored"
        server.engine.drain()
        await client.send_body(b"x" * 1000)
        await client.over()

    talk(backend, ignore, conversation, seconds=5)


@pytest.mark.http1("chunks")
def test_a_broken_body_is_answered_and_the_application_told(backend: Backend) -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while True:
                message = await receive()
                seen.append(message.get("body", message["type"]))
                if message["type"] == "http.disconnect":
                    break
            await send(start())
        except OSError as error:
            seen.append(type(error).__name__)
            raise

    async def conversation(client: Connection, server: InProcess) -> None:
        server.log.expect(30, "400")
        await client.begin()
        await client.send_body(b"good")
        await wait_until(lambda: bool(seen))
        await client.send(b"zz\r\n")
        assert (await client.response()).status == 400
        assert await client.rest() == b""

    talk(backend, app, conversation)
    assert seen == [b"good", "http.disconnect", "ClientDisconnected"]


@pytest.mark.http1("pipelining")
def test_a_request_behind_a_body_that_receive_itself_read_is_not_lost(backend: Backend) -> None:
    """The head comes in two segments; the second brings more than one read takes, and the next request behind it."""
    size = 150_000  # one read takes 128 KiB, a Unix socket holds a little more than 200 KB

    async def conversation(client: Connection, server: InProcess) -> None:
        head = b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: %d\r\n\r\n" % size
        await wait_until(lambda: server.engine.stats()["handshakes"] == int(backend.tls))
        before = server.engine.stats()["bytes_received"]
        await client.send(head[:20])
        await wait_until(lambda: server.engine.stats()["bytes_received"] >= before + 20)
        await client.send(head[20:] + BIG[:size] + b"GET /next HTTP/1.1\r\nhost: test\r\n\r\n")
        assert (await client.response()).body == BIG[:size]
        assert (await client.response()).body == b""

    talk(backend, echo, conversation)
