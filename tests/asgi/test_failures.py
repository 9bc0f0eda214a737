"""The application fails: before its response, during it, after it. What the client sees and what the log says."""

import asyncio
import logging
import socket

import pytest
from support.apps import answer, body, start
from support.inprocess import App, Backend, InProcess, Receive, Scope, Send, serving, wait_until

SUSPEND = pytest.mark.parametrize("suspend", [False, True])


def failing(where: str, error: BaseException | None, suspend: bool) -> App:
    """An application that raises `error`, or returns, at the named place."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/good":
            return await answer(send, b"good")

        async def reach(place: str) -> bool:
            if suspend:
                await asyncio.sleep(0)
            if place == where and error is not None:
                raise error
            return place == where

        if await reach("before"):
            return None
        await send(start(200, (b"content-length", b"6")) if "length" in where else start())
        if await reach("started"):
            return None
        await send(body(b"abc", more=True))
        if await reach("streaming") or await reach("length streaming"):
            return None
        await send(body(b"def"))
        await reach("after")
        return None

    return app


@SUSPEND
@pytest.mark.parametrize(
    "error", [ValueError("boom"), BaseException("base"), BaseExceptionGroup("g", [KeyError(1)])], ids=repr
)
def test_raising_before_the_response_is_a_500_with_a_traceback(
    backend: Backend, suspend: bool, error: BaseException
) -> None:
    async def scenario(server: InProcess) -> None:
        server.log.expect(40, r"GET /bad: exception in the ASGI application")
        async with server.connect() as client:
            response = await client.get("/bad")
            assert (response.status, response.body) == (500, b"Internal Server Error\n")
            await client.over(response)
        async with server.connect() as client:
            assert (await client.get("/good")).body == b"good"
        (record,) = [record for record in server.log.records if record.levelno == logging.ERROR]
        assert record.exc_info is not None
        assert record.exc_info[1] is error
        assert "in app" in server.log.tracebacks()

    serving(backend, failing("before", error, suspend), scenario)


@SUSPEND
def test_returning_without_a_response_is_a_500(backend: Backend, suspend: bool) -> None:
    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "GET /bad: the application returned without sending a response")
        async with server.connect() as client:
            assert (await client.get("/bad")).status == 500

    serving(backend, failing("before", None, suspend), scenario)


def test_raising_after_a_start_that_nobody_saw_is_a_500(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            response = await client.get("/bad")
            assert (response.status, response.body) == (500, b"Internal Server Error\n")

    serving(backend, failing("started", ValueError("boom"), False), scenario)


@SUSPEND
@pytest.mark.parametrize("where", ["streaming", "length streaming"])
@pytest.mark.parametrize("error", [ValueError("boom"), None], ids=["raises", "returns"])
def test_failing_in_the_middle_cuts_the_connection(
    backend: Backend, suspend: bool, where: str, error: Exception | None
) -> None:
    async def scenario(server: InProcess) -> None:
        server.log.expect(
            40, "exception in the ASGI application" if error else "returned before the end of the response body"
        )
        async with server.connect() as client:
            await client.request("/bad")
            assert (await client.cut()).body == b"abc"
        async with server.connect() as client:
            assert (await client.get("/good")).body == b"good"

    serving(backend, failing(where, error, suspend), scenario)


@pytest.mark.http1("HTTP/1.0")
def test_failing_where_the_end_of_the_connection_ends_the_body_resets_it(backend: Backend) -> None:
    """HTTP/1.0: an orderly end would make half a body look whole (RFC 9112 §6.3)."""

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            await client.send(b"GET /bad HTTP/1.0\r\n\r\n")
            if backend.family == socket.AF_UNIX:  # knows no reset
                await client.rest()
            else:
                await client.wait_aborted()

    serving(backend, failing("streaming", ValueError("boom"), True), scenario)


@SUSPEND
def test_raising_after_the_response_only_logs(backend: Backend, suspend: bool) -> None:
    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            assert (await client.get("/bad")).body == b"abcdef"
            assert (await client.get("/good")).body == b"good"
            await wait_until(lambda: server.engine.active == 0)
            assert server.engine.stats()["application_errors"] == 1

    serving(backend, failing("after", ValueError("late"), suspend), scenario)


def test_a_late_failure_is_not_blamed_on_the_next_request(backend: Backend) -> None:
    fail = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)
        if scope["path"] == "/guilty":
            await fail.wait()
            raise ValueError("late")

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            await client.get("/guilty")
            await client.get("/innocent")
            fail.set()
            record = await server.log.wait_for("exception in the ASGI application")
            assert "/innocent" not in record.getMessage()

    serving(backend, app, scenario)


@pytest.mark.http1("pipelining")
def test_pipelined_requests_after_a_500_are_not_served(backend: Backend) -> None:
    served: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(scope["path"])
        raise ValueError("first")

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            await client.send(b"GET /1 HTTP/1.1\r\nhost: t\r\n\r\nGET /2 HTTP/1.1\r\nhost: t\r\n\r\n")
            assert (await client.response()).status == 500
            assert await client.rest() == b""

    serving(backend, app, scenario)
    assert served == ["/1"]


def test_500_for_head_has_no_body(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            response = await client.get("/bad", method="HEAD")
            assert (response.status, response.body) == (500, b"")
            await client.over(response)

    serving(backend, failing("before", ValueError("boom"), False), scenario)
