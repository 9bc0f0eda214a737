"""`send()`: what the client gets for what the application sends. RFC 9112 §6, §7; RFC 9110 §6.4.1, §8.6, §9.3.2."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from support.apps import answer, body, start
from support.client import Response
from support.inprocess import App, Backend, InProcess, Message, Receive, Scope, Send, serving

MEGABYTE = b"0123456789abcdef" * 65536


def app_of(*messages: Message) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def response_to(backend: Backend, app: App, method: str = "GET") -> tuple[Response, bool]:
    """The response, and whether the connection stays open for another request."""

    async def scenario(server: InProcess) -> tuple[Response, bool]:
        async with server.connect() as client:
            response = await client.get(method=method)
            if response.field(b"connection") == b"close":
                await client.over(response)
                return response, False
            again = await client.get(method=method)
            assert (again.status, again.body) == (response.status, response.body)
            return response, True

    return serving(backend, app, scenario)


def test_a_single_body_gets_a_length(backend: Backend) -> None:
    response, kept = response_to(backend, app_of(start(201, (b"x-a", b"1"), (b"X-A", b"2")), body(b"hello")))
    assert (response.status, response.body, kept) == (201, b"hello", True)
    assert response.field(b"content-length") == b"5"
    assert not response.streamed
    other = b"x-a" if backend.http2 else b"X-A"  # RFC 9113 §8.2: field names are in lower case
    assert [pair for pair in response.fields if pair[0].lower() == b"x-a"] == [(b"x-a", b"1"), (other, b"2")]


def test_server_and_date_are_added_once(backend: Backend) -> None:
    response, _ = response_to(backend, app_of(start(), body()))
    assert response.field(b"server") == b"swell"
    assert (response.field(b"date") or b"").endswith(b"GMT")
    given = (b"Server", b"mine"), (b"Date", b"Tue, 15 Nov 1994 08:12:31 GMT")
    response, _ = response_to(backend, app_of(start(200, *given), body()))
    assert (response.field(b"server"), response.field(b"date")) == (given[0][1], given[1][1])


def test_an_empty_body_has_length_zero(backend: Backend) -> None:
    response, kept = response_to(backend, app_of(start(), {"type": "http.response.body"}))
    assert (response.field(b"content-length"), response.body, kept) == (b"0", b"", True)


def test_a_stream_has_no_length(backend: Backend) -> None:
    app = app_of(start(), body(b"one", more=True), body(b"", more=True), body(b"two", more=True), body())
    response, kept = response_to(backend, app)
    assert (response.streamed, response.body, kept) == (True, b"onetwo", True)


def test_a_stream_of_known_length_has_it(backend: Backend) -> None:
    app = app_of(start(200, (b"content-length", b"6")), body(b"one", more=True), body(b"two"))
    response, kept = response_to(backend, app)
    assert (response.field(b"content-length"), response.body, kept) == (b"6", b"onetwo", True)


def test_an_applications_own_transfer_encoding_is_ignored(backend: Backend) -> None:
    app = app_of(start(200, (b"transfer-encoding", b"chunked")), body(b"2\r\nhi\r\n", more=True), body(b"0\r\n\r\n"))
    response, _ = response_to(backend, app)
    assert response.body == b"2\r\nhi\r\n0\r\n\r\n"


@pytest.mark.http1("HTTP/1.0")
def test_http_1_0_gets_a_stream_until_close(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.send(b"GET / HTTP/1.0\r\nhost: test\r\n\r\n")
            response = await client.response()
            assert (response.body, response.streamed) == (b"onetwo", False)
            assert await client.rest() == b""

    serving(backend, app_of(start(), body(b"one", more=True), body(b"two")), scenario)


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("more", [False, True])
def test_statuses_without_a_body(backend: Backend, status: int, more: bool) -> None:
    messages = [start(status), body(b"dropped", more=more)] + ([body(b"dropped")] if more else [])
    response, kept = response_to(backend, app_of(*messages))
    assert (response.status, response.body, kept, response.streamed) == (status, b"", True, False)
    assert response.field(b"content-length") is None


def test_204_carries_no_length_304_may(backend: Backend) -> None:
    for status, length in ((204, None), (304, b"7")):
        response, kept = response_to(backend, app_of(start(status, (b"content-length", b"7")), body()))
        assert (response.field(b"content-length"), kept) == (length, True)


@pytest.mark.parametrize("more", [False, True])
def test_head_gets_the_head_only(backend: Backend, more: bool) -> None:
    messages = [start(200, (b"content-length", b"5")), body(b"hel", more=True), body(b"lo")]
    response, kept = response_to(backend, app_of(*(messages if more else [messages[0], body(b"hello")])), "HEAD")
    assert (response.field(b"content-length"), kept) == (b"5", True)


@pytest.mark.http1("connection options")
def test_connection_close_is_obeyed(backend: Backend) -> None:
    response, kept = response_to(backend, app_of(start(200, (b"connection", b"close")), body(b"bye")))
    assert (response.body, kept) == (b"bye", False)


@pytest.mark.parametrize("data", [b"x" * 16383, b"x" * 16384, MEGABYTE, MEGABYTE * 8])
@pytest.mark.parametrize("more", [False, True])
def test_large_bodies(backend: Backend, data: bytes, more: bool) -> None:
    messages = [start(), body(data, more=more)] + ([body(data[:100])] if more else [])
    response, kept = response_to(backend, app_of(*messages))
    assert response.body == data + (data[:100] if more else b"")
    assert kept


@pytest.mark.parametrize("kind", [bytearray, memoryview])
@pytest.mark.parametrize("size", [10, 100_000])
def test_what_holds_bytes_is_copied_when_it_is_sent(backend: Backend, kind: Any, size: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        data = bytearray(b"a" * size)
        await send(start())
        await send(body(kind(data)))
        data[:] = b"b" * size

    response, _ = response_to(backend, app)
    assert response.body == b"a" * size


def test_headers_may_be_any_iterable_of_pairs(backend: Backend) -> None:
    shapes: list[Any] = [
        [[b"x-shape", b"1"]],
        ((b"x-shape", b"1"),),
        iter([(b"x-shape", b"1")]),
        ((name, b"1") for name in [b"x-shape"]),
        {b"x-shape": b"1"}.items(),
        [(bytearray(b"x-shape"), memoryview(b"1"))],
    ]
    for shape in shapes:

        async def app(scope: Scope, receive: Receive, send: Send, shape: Any = shape) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": shape})
            await send(body())

        async def scenario(server: InProcess) -> None:
            async with server.connect() as client:
                assert (await client.get()).field(b"x-shape") == b"1"

        serving(backend, app, scenario)


def test_the_head_leaves_when_the_application_waits_and_chunks_before_the_next(backend: Backend) -> None:
    steps: list[str] = []
    go = asyncio.Semaphore(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        steps.append("started")
        for number in range(3):
            await go.acquire()
            steps.append(f"send {number}")
            await send(body(b"%d" % number, more=True))
        await go.acquire()
        await send(body())

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.request()
            assert (await client.head()).streamed
            assert steps == ["started"]
            for number in range(3):
                go.release()
                assert await client.chunk() == b"%d" % number
                assert steps[-1] == f"send {number}"
            go.release()
            assert await client.chunk() == b""

    serving(backend, app, scenario)


def test_send_may_be_run_as_a_task_gathered_or_waited_for(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.create_task(send(start()))
        await asyncio.gather(send(body(b"a", more=True)), send(body(b"b", more=True)))
        await asyncio.wait_for(send(body(b"c", more=True)), 5)
        async with asyncio.timeout(5):
            await asyncio.shield(send(body(b"d")))

    response, _ = response_to(backend, app)
    assert response.body == b"abcd"


@pytest.mark.http1("pipelining")
def test_pipelined_requests_are_answered_in_order_and_one_at_a_time(backend: Backend) -> None:
    order: list[str] = []
    first = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        order.append(scope["path"])
        if scope["path"] == "/0":
            await first.wait()
        await answer(send, scope["path"].encode())
        order.append("done " + scope["path"])

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.send(b"".join(b"GET /%d HTTP/1.1\r\nhost: test\r\n\r\n" % number for number in range(50)))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.reader.read(1), 0.02)
            assert order == ["/0"]
            first.set()
            for number in range(50):
                assert (await client.response()).body == b"/%d" % number
        assert order == [step for number in range(50) for step in (f"/{number}", f"done /{number}")]

    serving(backend, app, scenario)


class PacketSocket(socket.socket):
    """Keeps the borders between writes, which a server would rightly refuse to listen on, if it knew."""

    @property
    def type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM


class Packets(Backend):
    """A socket on which every write of the server arrives as one packet."""

    def listener(self, directory: Path) -> socket.socket:
        listener = PacketSocket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(directory / "swell.sock"))
        listener.listen(8)
        listener.setblocking(False)
        return listener


@pytest.mark.parametrize("suspend", [False, True])
@pytest.mark.parametrize("size", [0, 13, 10_000, 100_000])
def test_a_response_that_is_not_streamed_is_one_write(suspend: bool, size: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if suspend:
            await asyncio.sleep(0)
        await answer(send, b"x" * size)

    async def scenario(server: InProcess) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.setblocking(False)
            await server.loop.sock_connect(client, server.address)
            for _ in range(3):
                await server.loop.sock_sendall(client, b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
                packet = await server.loop.sock_recv(client, 1 << 20)
                head, _, rest = packet.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                assert rest == b"x" * size

    serving(Packets("packets"), app, scenario)


def test_a_burst_of_chunks_without_waiting_is_one_write() -> None:
    async def scenario(server: InProcess) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.setblocking(False)
            await server.loop.sock_connect(client, server.address)
            await server.loop.sock_sendall(client, b"GET / HTTP/1.1\r\nhost: test\r\n\r\n" * 2)
            packet = await server.loop.sock_recv(client, 1 << 20)
            assert packet.count(b"HTTP/1.1 200 OK\r\n") == packet.count(b"\r\n0\r\n\r\n") == 2

    serving(Packets("packets"), app_of(start(), *(body(b"x", more=True) for _ in range(9)), body()), scenario)
