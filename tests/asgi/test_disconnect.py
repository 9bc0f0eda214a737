"""The client goes away: `http.disconnect`, `ClientDisconnected` from `send()`, and what is logged of it."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
from support.apps import answer, body, start
from support.backends import HTTP2_TLS, TCP, TLS, UNIX, over
from support.client import Connection
from support.inprocess import App, Backend, InProcess, Receive, Scope, Send, serving, wait_until

from swell._core import ClientDisconnected, MessageError

ALSO = (HTTP2_TLS,)  # with bytes in every size and order


def reset(client: Connection) -> None:
    client.reset()


LEAVING: dict[str, Callable[[Connection], None]] = {"fin": lambda client: client.end(), "rst": reset}


@pytest.fixture(params=LEAVING)
def leave(request: pytest.FixtureRequest) -> Callable[[Connection], None]:
    return LEAVING[request.param]


def go_away(
    backend: Backend, app: App, leave: Callable[[Connection], None], running: asyncio.Event, **options: Any
) -> InProcess:
    """Send a request, leave when the application says so; the log must hold nothing above debug level."""

    async def scenario(server: InProcess) -> InProcess:
        async with server.connect() as client:
            await client.request()
            await running.wait()
            leave(client)
            await server.wait_idle()
        return server

    server = serving(backend, app, scenario, **options)
    assert [record for record in server.log.records if record.levelno > logging.INFO] == []
    return server


def test_errors_have_the_documented_families() -> None:
    assert issubclass(ClientDisconnected, OSError)
    assert issubclass(MessageError, RuntimeError)


def test_receive_learns_of_it_while_it_waits_and_ever_after(
    backend: Backend, leave: Callable[[Connection], None]
) -> None:
    running = asyncio.Event()
    seen: list[dict[str, str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        running.set()
        for _ in range(3):
            seen.append(dict(await receive()))

    go_away(backend, app, leave, running)
    assert seen == [{"type": "http.disconnect"}] * 3


@over(*TCP, UNIX, TLS)
def test_who_left_while_the_server_did_not_read_is_gone_when_all_is_read(
    backend: Backend, leave: Callable[[Connection], None]
) -> None:
    """The poller tells of an end once, and a read that takes all that is there does not say that it follows."""
    running, left = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        running.set()
        await left.wait()
        while (await receive())["type"] != "http.disconnect":
            pass

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.begin("/", length=1_000_000)
            await running.wait()
            sent = 100_000  # more than is kept for an application that does not read
            await client.send_body(bytes(sent))
            await wait_until(lambda: server.engine.stats()["bytes_received"] > sent)
            await client.send_body(b"the rest")
            leave(client)
            for _ in range(100):  # turns in which the server learns of it
                await asyncio.sleep(0)
            left.set()
            await server.wait_idle()

    serving(backend, app, scenario)


def test_send_raises_and_only_debug_tells(backend: Backend, leave: Callable[[Connection], None]) -> None:
    running = asyncio.Event()
    raised: list[type[OSError]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(start())
        running.set()
        await receive()
        for message in (body(b"x", more=True), body(), start()):
            try:
                await send(message)
            except OSError as error:
                raised.append(type(error))
        await send(body())

    server = go_away(backend, app, leave, running)
    assert raised == [ClientDisconnected] * 3
    assert [r.levelno for r in server.log.records if "after the client had gone" in r.getMessage()] == [logging.DEBUG]


def test_a_disconnect_that_a_framework_wrapped_is_quiet_too(backend: Backend) -> None:
    class FrameworkError(Exception):
        pass

    running = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        running.set()
        await receive()

        async def push() -> None:
            await send(start())

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(push())
        except BaseExceptionGroup as group_error:
            raise FrameworkError("wrapped") from group_error

    go_away(backend, app, reset, running)


def test_a_disconnect_that_was_taken_out_of_its_group_is_quiet_too(backend: Backend) -> None:
    """As sse-starlette does: what is raised then has the group as its context, which holds what is raised."""
    running = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        running.set()
        await receive()

        async def push() -> None:
            await send(start())

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(push())
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0]  # noqa: B904 - the context is the point

    go_away(backend, app, reset, running)


def test_an_error_beside_such_a_disconnect_is_not_quiet(backend: Backend) -> None:
    together: list[type[Exception]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

        async def push() -> None:
            await send(start())

        async def fail() -> None:
            raise LookupError("a bug of the application")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(push())
                group.create_task(fail())
        except ExceptionGroup as group_error:
            together.extend(type(error) for error in group_error.exceptions)
            raise group_error.exceptions[0]  # noqa: B904 - the context is the point

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            await client.request()
            await wait_until(lambda: server.engine.active == 1)
            client.reset()
            await server.wait_idle()

    serving(backend, app, scenario)
    assert together == [ClientDisconnected, LookupError]


def test_an_error_of_the_application_itself_is_not_quiet(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        raise ValueError("own fault")

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            await client.request()
            await wait_until(lambda: server.engine.active == 1)
            client.reset()
            await server.wait_idle()

    serving(backend, app, scenario)


def test_without_the_option_the_task_is_not_cancelled(backend: Backend, leave: Callable[[Connection], None]) -> None:
    running = asyncio.Event()
    outcome: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        running.set()
        await receive()
        await asyncio.sleep(0.01)
        outcome.append("finished")

    go_away(backend, app, leave, running)
    assert outcome == ["finished"]


@pytest.mark.parametrize("waiting", ["receive", "elsewhere"])
def test_cancel_on_disconnect(backend: Backend, leave: Callable[[Connection], None], waiting: str) -> None:
    running = asyncio.Event()
    outcome: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if waiting == "receive":
            await receive()
        running.set()
        try:
            await (receive() if waiting == "receive" else asyncio.Event().wait())
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            outcome.append("cancelled")
            raise

    go_away(backend, app, leave, running, cancel_on_disconnect=True)
    assert outcome == ["cancelled"]


def test_cancel_on_disconnect_spares_work_after_the_response(backend: Backend) -> None:
    running = asyncio.Event()
    outcome: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)
        running.set()
        await asyncio.sleep(0.02)
        outcome.append("finished")

    go_away(backend, app, reset, running, cancel_on_disconnect=True)
    assert outcome == ["finished"]


def test_a_client_that_ends_its_side_still_gets_the_answer_that_needs_no_waiting(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"complete")

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.request()
            client.end()
            assert (await client.response()).body == b"complete"
            await client.over()

    serving(backend, app, scenario)


def test_a_body_that_ends_too_early_is_a_disconnect(backend: Backend) -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(2):
            message = await receive()
            seen.append(message.get("body", message["type"]))

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.begin(length=10)
            await client.send_body(b"half")
            await wait_until(lambda: bool(seen))
            client.end()
            await server.wait_idle()

    serving(backend, app, scenario)
    assert seen == [b"half", "http.disconnect"]


def test_a_send_that_waits_for_the_client_is_woken(backend: Backend) -> None:
    outcome: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        try:
            while True:
                await send(body(b"x" * 65536, more=True))
        except OSError as error:
            outcome.append(type(error).__name__)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            client.pause_reading()
            await client.request()
            await wait_until(lambda: server.engine.stats()["bytes_sent"] > 65536)
            await asyncio.sleep(0.02)
            assert outcome == []
            client.reset()
            await server.wait_idle()

    serving(backend, app, scenario)
    assert outcome == ["ClientDisconnected"]


@pytest.mark.http1("pipelining")
def test_pipelined_requests_of_a_client_that_left_are_not_started(backend: Backend) -> None:
    started: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.append(scope["path"])
        await receive()
        while (await receive())["type"] != "http.disconnect":
            pass

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.send(b"GET /first HTTP/1.1\r\nhost: t\r\n\r\nGET /second HTTP/1.1\r\nhost: t\r\n\r\n")
            await wait_until(lambda: bool(started))
            client.reset()
            await server.wait_idle()

    serving(backend, app, scenario)
    assert started == ["/first"]


def test_thousands_that_leave_at_every_point_leave_nothing_behind() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        await receive()
        await send(start())
        await asyncio.sleep(0)
        await send(body(b"x" * 1000, more=True))
        await asyncio.sleep(0)
        await send(body())

    async def scenario(server: InProcess) -> None:
        request = b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\nabc"
        assert isinstance(server.address, tuple)
        for number in range(2000):
            with socket.create_connection(server.address) as raw:
                raw.sendall(request[: number % (len(request) + 1)])
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                if number % 2:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await server.wait_idle()

    serving(Backend("asyncio"), app, scenario)


def test_an_error_that_is_answered_to_a_client_that_has_gone_is_still_an_error(backend: Backend) -> None:
    """As Starlette does: the error is caught, a 500 is tried, which raises in turn because nobody is there any more."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        try:
            raise LookupError("a bug of the application")
        except LookupError:
            await send(start(500))

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            await client.request()
        await wait_until(lambda: any(record.levelno == 40 for record in server.log.records))

    serving(backend, app, scenario)
