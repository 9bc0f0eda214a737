"""Streams of events at the end of the server: `Engine.dismiss` and `Engine.end_streams`. HTML standard §9.2."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from support.apps import body, start
from support.client import Connection
from support.inprocess import Backend, InProcess, Message, Receive, Scope, Send, serving, wait_until

from swell._core import ClientDisconnected

EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
Handler = Callable[[Receive, Send], Awaitable[None]]


class Streams:
    """Begins a stream of events and leaves the rest to `then`."""

    def __init__(self, then: Handler, first: Message | None = None) -> None:
        self.then = then
        self.first = first or start(200, EVENTS)
        self.begun = 0
        self.seen: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(self.first)
        await send(body(b"data: 1\n\n", more=True))
        self.begun += 1
        await self.then(receive, send)

    async def wait_told(self, receive: Receive) -> None:
        self.seen.append((await receive())["type"])


async def open_stream(server: InProcess, app: Streams, client: Connection, method: str = "GET") -> None:
    before = app.begun
    await client.request(method=method)
    await wait_until(lambda: app.begun > before)


def test_an_application_that_is_told_need_not_end_it_well(backend: Backend) -> None:
    """As Starlette's and Django's, which cancel what streams: Swell completes the response."""

    async def then(receive: Receive, send: Send) -> None:
        await app.wait_told(receive)
        await app.wait_told(receive)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await open_stream(server, app, client)
            assert server.engine.dismiss() == 0
            response = await client.response()
            assert response.streamed
            assert response.body == b"data: 1\n\n"
            await client.over()
        assert [record for record in server.log.records if record.levelno > logging.INFO] == []

    app = Streams(then)
    serving(backend, app, scenario)
    assert app.seen == ["http.disconnect"] * 2


def test_an_application_that_raises_for_it_is_no_error(backend: Backend) -> None:
    class FrameworkDisconnectError(Exception):
        pass

    async def then(receive: Receive, send: Send) -> None:
        await app.wait_told(receive)
        raise FrameworkDisconnectError

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await open_stream(server, app, client)
            server.engine.dismiss()
            assert (await client.response()).body == b"data: 1\n\n"

    app = Streams(then)
    serving(backend, app, scenario)


def test_an_application_that_is_told_may_have_last_words(backend: Backend) -> None:
    async def then(receive: Receive, send: Send) -> None:
        await app.wait_told(receive)
        await send(body(b"data: bye\n\n", more=True))
        await send(body())

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await open_stream(server, app, client)
            server.engine.dismiss()
            assert (await client.response()).body == b"data: 1\n\ndata: bye\n\n"

    app = Streams(then)
    serving(backend, app, scenario)


def test_an_error_of_its_own_is_visible_all_the_same(backend: Backend) -> None:
    async def then(receive: Receive, send: Send) -> None:
        await app.wait_told(receive)
        raise LookupError("on purpose")

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.ERROR, "exception in the ASGI application")
        async with server.connect() as client:
            await open_stream(server, app, client)
            server.engine.dismiss()
            assert (await client.cut()).body == b"data: 1\n\n"

    app = Streams(then)
    serving(backend, app, scenario)


def test_clients_are_told_one_after_the_other(backend: Backend) -> None:
    """The one that came first at first. Who has come meanwhile is seen when the others are gone."""

    async def then(receive: Receive, send: Send) -> None:
        await app.wait_told(receive)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as first, server.connect() as second, server.connect() as third:
            await open_stream(server, app, first)
            await open_stream(server, app, second)
            assert server.engine.dismiss(0) == 2
            await open_stream(server, app, third)
            assert server.engine.dismiss(1) == 1
            await first.response()
            assert (len(app.seen), server.engine.active) == (1, 2)
            assert server.engine.dismiss(5) == 0
            await second.response()
            assert server.engine.dismiss(0) == 1
            assert server.engine.dismiss() == 0
            await third.response()
            assert server.engine.dismiss() == 0

    app = Streams(then)
    serving(backend, app, scenario)


@pytest.mark.parametrize("told", [True, False])
def test_one_that_does_not_listen_is_completed(backend: Backend, told: bool) -> None:
    """For the application the client has gone."""

    async def then(receive: Receive, send: Send) -> None:
        await ended.wait()
        for message in (body(b"data: 2\n\n", more=True), body()):
            with pytest.raises(ClientDisconnected):
                await send(message)
        await app.wait_told(receive)
        await send(body())

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client, server.connect() as other:
            await open_stream(server, app, client)
            await open_stream(server, app, other)
            if told:
                server.engine.dismiss()
            assert server.engine.end_streams(0) == 2
            assert server.engine.end_streams(1) == 1
            assert (await client.response()).body == b"data: 1\n\n"
            assert server.engine.end_streams() == 0
            assert (await other.response()).body == b"data: 1\n\n"
            await client.over()
            await other.over()
            ended.set()

    app = Streams(then)
    ended = asyncio.Event()
    serving(backend, app, scenario)
    assert app.seen == ["http.disconnect"] * 2


def test_promised_trailers_stay_out(backend: Backend) -> None:
    async def then(receive: Receive, send: Send) -> None:
        await app.wait_told(receive)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await open_stream(server, app, client)
            server.engine.end_streams()
            response = await client.response()
            assert (response.body, response.trailers) == (b"data: 1\n\n", [])
            await client.over()

    app = Streams(then, start(200, EVENTS, trailers=True))
    serving(backend, app, scenario)


@pytest.mark.http1("HTTP/1.0")
def test_http_1_0(backend: Backend) -> None:
    """RFC 9112 §6.3 rule 8: the end of the connection is the end of the stream, and no reset."""

    async def then(receive: Receive, send: Send) -> None:
        await app.wait_told(receive)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            await wait_until(lambda: app.begun == 1)
            server.engine.dismiss()
            assert (await client.rest()).endswith(b"\r\n\r\ndata: 1\n\n")

    app = Streams(then)
    serving(backend, app, scenario)


@pytest.mark.parametrize(
    ("method", "first"),
    [
        ("POST", start(200, EVENTS)),
        ("GET", start(200, EVENTS, (b"content-length", b"11"))),
        ("GET", start(404, EVENTS)),
        ("GET", start(200, (b"content-type", b"text/plain"))),
        ("GET", start(200, (b"content-type", b"text/event-stream-not"))),
        ("GET", start(200, (b"x-type", b"text/event-stream"))),
    ],
    ids=["an answer to a POST", "with a length", "404", "of another type", "a longer name", "another field"],
)
def test_other_responses_are_let_be(backend: Backend, method: str, first: Message) -> None:
    """Their clients do not come again by themselves: they get the whole, or see that they did not."""

    async def then(receive: Receive, send: Send) -> None:
        await go_on.wait()
        await send(body(b"2\n"))

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await open_stream(server, app, client, method)
            assert server.engine.dismiss() == server.engine.end_streams() == 0
            go_on.set()
            assert (await client.response()).body == b"data: 1\n\n2\n"

    app = Streams(then, first)
    go_on = asyncio.Event()
    serving(backend, app, scenario)


def test_the_task_is_cancelled_where_that_is_wanted(backend: Backend) -> None:
    async def then(receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            app.seen.append("cancelled")

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await open_stream(server, app, client)
            server.engine.end_streams()
            assert (await client.response()).body == b"data: 1\n\n"

    app = Streams(then)
    serving(backend, app, scenario, cancel_on_disconnect=True)
    assert app.seen == ["cancelled"]
