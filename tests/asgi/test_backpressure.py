"""Nobody is made to hold what nobody takes: backpressure from the application to the client and back."""

import asyncio
import contextlib

import pytest
from support.apps import answer, body, start
from support.backends import HTTP2_TLS
from support.client import Connection
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving, wait_until

ALSO = (HTTP2_TLS,)  # with bytes in every size and order

PIECE = b"x" * 65536
BOUND = 32 << 20  # far above the kernel's socket buffers, far below what is offered
HTTP2_BOUND = 2 << 20  # the same for windows


def bound(backend: Backend) -> int:
    return HTTP2_BOUND if backend.http2 else BOUND


def held(backend: Backend) -> int:
    """What waits in the server itself: one high-water mark, and one more in front of a stream's window."""
    return (128 if backend.http2 else 64) * 1024


async def settled(count: "list[int]") -> int:
    """The number once it has stopped growing."""
    before = -1
    while before != count[0]:
        before = count[0]
        await asyncio.sleep(0.1)
    return before


def test_send_waits_for_a_client_that_does_not_read_and_goes_on_when_it_does(backend: Backend) -> None:
    sent = [0]
    pieces = 2 * bound(backend) // len(PIECE)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for _ in range(pieces):
            await send(body(PIECE, more=True))
            sent[0] += len(PIECE)
        await send(body())

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            client.pause_reading()
            await client.request()
            await wait_until(lambda: sent[0] > 0)
            stuck = await settled(sent)
            assert 0 < stuck < bound(backend)
            # What the server holds beyond the kernel's buffers, and one piece.
            assert stuck - server.engine.stats()["bytes_sent"] <= held(backend) + len(PIECE)
            client.resume_reading()
            head = await client.head()
            assert head.streamed
            received = 0
            while chunk := await client.chunk():
                received += len(chunk)
            assert received == pieces * len(PIECE)

    serving(backend, app, scenario)


def test_a_waiting_send_can_be_cancelled(backend: Backend) -> None:
    outcome: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        try:
            async with asyncio.timeout(0.05):
                while True:
                    await send(body(PIECE, more=True))
        except TimeoutError:
            outcome.append("timed out")
        go_on.set()
        await send(body(b"end"))

    go_on = asyncio.Event()

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            client.pause_reading()
            await client.request()
            await go_on.wait()
            client.resume_reading()
            response = await client.response()
            assert response.body.endswith(b"xend")
            assert len(response.body) % len(PIECE) == 3

    serving(backend, app, scenario)
    assert outcome == ["timed out"]


def test_several_senders_wait_and_all_go_on(backend: Backend) -> None:
    done: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())

        async def push(number: int) -> None:
            for _ in range(20):
                await send(body(PIECE, more=True))
            done.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(push(number))
        await send(body())

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            client.pause_reading()
            await client.request()
            await wait_until(lambda: server.engine.stats()["bytes_sent"] > 0)
            client.resume_reading()
            assert len((await client.response()).body) == 100 * len(PIECE)

    serving(backend, app, scenario)
    assert sorted(done) == list(range(5))


async def pour(client: Connection, count: list[int], total: int) -> None:
    """Send `total` body bytes and count what the server and the kernels between have taken."""
    await client.begin(length=total)
    while count[0] < total:
        await client.send_body(PIECE)
        count[0] += len(PIECE)


def test_reading_stops_while_the_application_does_not_read(backend: Backend) -> None:
    go = asyncio.Event()
    total = 2 * bound(backend)
    taken = [0]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        more = True
        while more:
            message = await receive()
            taken[0] += len(message["body"])
            assert len(message["body"]) <= 512 * 1024
            more = message["more_body"]
        await answer(send)

    async def scenario(server: InProcess) -> None:
        poured = [0]
        async with server.connect() as client:
            pouring = asyncio.create_task(pour(client, poured, total))
            try:
                await wait_until(lambda: poured[0] > 0)
                stuck = await settled(poured)
                assert stuck < bound(backend)
                assert server.engine.stats()["bytes_received"] <= 512 * 1024
                go.set()
                assert (await client.response()).body == b"ok"
                await pouring
            finally:
                pouring.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                    await pouring
        assert taken[0] == total

    serving(backend, app, scenario)


def test_an_upload_goes_on_as_the_application_takes_it(backend: Backend) -> None:
    """Also through the smallest window, thirty times over, when nothing else happens on the connection."""
    total = 30 * len(PIECE)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more, taken = True, 0
        while more:
            message = await receive()
            taken += len(message["body"])
            more = message["more_body"]
            await asyncio.sleep(0.001)
        await answer(send, b"%d" % taken)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await pour(client, [0], total)
            assert (await client.response()).body == b"%d" % total

    serving(backend, app, scenario, h2_stream_window=65_535)


def test_reading_stops_at_each_pause_of_the_application(backend: Backend) -> None:
    """Every message it takes lets in a bounded amount more, not the rest."""
    steps: asyncio.Queue[int] = asyncio.Queue()
    go = asyncio.Semaphore(0)
    total = 8 * HTTP2_BOUND // (4 if backend.http2 else 1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        taken = 0
        while more:
            await go.acquire()
            message = await receive()
            taken += len(message["body"])
            more = message["more_body"]
            await steps.put(taken)
        await answer(send, b"%d" % taken)

    async def scenario(server: InProcess) -> None:
        poured = [0]
        async with server.connect() as client:
            pouring = asyncio.create_task(pour(client, poured, total))
            taken = 0
            while taken < total:
                go.release()
                taken = await steps.get()
                if taken < total // 4:
                    await asyncio.sleep(0.002)
                assert server.engine.stats()["bytes_received"] - taken <= 512 * 1024
            go.release()
            assert (await client.response()).body == b"%d" % total
            await pouring

    serving(backend, app, scenario)


@pytest.mark.http1("pipelining")
def test_pipelined_requests_behind_a_slow_one_are_not_all_read(backend: Backend) -> None:
    go = asyncio.Event()
    served = [0]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        served[0] += 1
        await answer(send)

    async def scenario(server: InProcess) -> None:
        request = b"GET / HTTP/1.1\r\nhost: test\r\nx-fill: " + b"y" * 1000 + b"\r\n\r\n"
        count = 16_000
        async with server.connect() as client:
            sending = asyncio.create_task(client.send(request * count))
            await wait_until(lambda: server.engine.active == 1)
            await asyncio.sleep(0.1)
            assert server.engine.stats()["bytes_received"] <= 512 * 1024
            go.set()
            for _ in range(count):
                assert (await client.response()).status == 200
            await sending
        assert served[0] == count

    serving(backend, app, scenario)


def test_a_large_piece_leaves_although_nothing_else_happens(backend: Backend) -> None:
    go = asyncio.Event()
    pieces = [b"-", bytes(1_000_000), b"end"]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(pieces[0], more=True))
        await go.wait()
        await send(body(pieces[1], more=True))
        await send(body(pieces[2]))

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.request()
            await client.head()
            assert await client.chunk() == pieces[0]
            before = server.engine.stats()["bytes_sent"]
            go.set()
            for _ in range(20):  # turns of the loop, in which no byte comes and no timer fires
                await asyncio.sleep(0)
            assert server.engine.stats()["bytes_sent"] > before + 10_000
            rest = b""
            while chunk := await client.chunk():
                rest += chunk
            assert rest == pieces[1] + pieces[2]

    serving(backend, app, scenario)
