"""The engine is entered from everywhere: destructors, collector callbacks, nested loops, other threads' leftovers.

No state is borrowed while Python runs. Each test makes Python run where nobody expects it and checks that the request,
its neighbours and the server are well.
"""

import asyncio
import contextlib
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.apps import answer, body, read_body, start
from support.client import Connection
from support.inprocess import Backend, InProcess, Message, Receive, Scope, Send, serving, wait_until


class Bomb:
    """Does something when it is destroyed."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def __del__(self) -> None:
        self.action()


class BytesBomb(bytes):
    action: Callable[[], object]

    def __del__(self) -> None:
        self.action()


class StrBomb(str):
    action: Callable[[], object]

    def __hash__(self) -> int:
        self.action()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        self.action()
        return super().__eq__(other)


@pytest.fixture(params=["asyncio", "uvloop"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return Backend(request.param, loop=request.param)


async def check(server: InProcess) -> None:
    """The server still serves."""
    async with server.connect() as client:
        assert (await client.get("/check")).status == 200


def drive(receive: Receive) -> None:
    """Step `receive()` once by hand, outside of any task."""
    waiting: Any = receive()
    try:
        waiting.send(None)
    except (StopIteration, RuntimeError):
        return
    waiting.close()


def test_send_and_receive_from_destructors_during_send(backend: Backend) -> None:
    exploded: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        def again() -> None:
            exploded.append("del")
            drive(receive)
            try:
                _ = send(body(b"-", more=True))
            except (RuntimeError, OSError):
                exploded.append("refused")

        if scope["path"] == "/check":
            return await answer(send)
        message = start()
        message["bomb"] = Bomb(again)
        await send(message)
        del message
        piece = BytesBomb(b"x" * 100_000)
        piece.action = again
        await send(body(piece, more=True))
        del piece
        last = BytesBomb(b"y" * 100_000)
        last.action = again
        await send({"type": "http.response.body", "body": last, "bomb": Bomb(again)})
        del last
        return None

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            response = await client.get()
            assert response.body.replace(b"-", b"") == b"x" * 100_000 + b"y" * 100_000
        await check(server)

    serving(backend, app, scenario)
    assert exploded.count("del") == 4
    assert "refused" in exploded


def test_destructors_when_the_connection_is_lost(backend: Backend) -> None:
    exploded: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/check":
            return await answer(send)

        def again() -> None:
            exploded.append("del")
            drive(receive)
            with contextlib.suppress(OSError, RuntimeError):
                _ = send(body(b"late", more=True))

        await read_body(receive)
        scope["bomb"] = Bomb(again)
        piece = BytesBomb(b"x" * 5_000_000)
        piece.action = again
        await send(start())
        sending = asyncio.ensure_future(send(body(piece, more=True)))
        del piece
        try:
            await sending
            await receive()
        finally:
            scope.clear()
        return None

    async def scenario(server: InProcess) -> None:
        for reset in (True, False):
            async with server.connect() as client:
                client.pause_reading()
                await client.request()
                await wait_until(lambda: server.engine.stats()["bytes_sent"] > 0)
                (client.reset if reset else client.writer.close)()
                await wait_until(lambda: server.engine.active == 0)
        await check(server)

    serving(backend, app, scenario)
    assert exploded.count("del") == 4


def test_orphaned_tasks_that_wait_in_receive_or_send(backend: Backend) -> None:
    """A waiting task that nobody holds dies with the engine's future; its clean-up runs in the middle of the engine."""
    cleaned: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/check":
            return await answer(send)
        await receive()

        async def orphan() -> None:
            try:
                await receive()
            finally:
                cleaned.append("cleaned")
                with contextlib.suppress(OSError, RuntimeError):
                    _ = send(body(b"from the grave"))

        for _ in range(3):
            asyncio.ensure_future(orphan())  # noqa: RUF006 - that is the point
        await asyncio.sleep(0)
        gc.collect()
        if scope["path"] == "/answer":
            await answer(send)
        else:
            await asyncio.sleep(0.01)
        return None

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "without sending a response")
        for target in ("/answer", "/silent"):
            async with server.connect() as client:
                assert (await client.get(target)).status == (200 if target == "/answer" else 500)
        await wait_until(lambda: len(cleaned) == 6)
        await check(server)

    serving(backend, app, scenario)


def test_collector_callbacks_that_send_and_receive(backend: Backend) -> None:
    calls = [0]
    channels: list[tuple[Receive, Send]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        channels.append((receive, send))
        data = await read_body(receive)
        if scope["path"] == "/suspend":
            await asyncio.sleep(0)
        garbage: list[object] = []
        garbage.append(garbage)
        await answer(send, data)
        channels.remove((receive, send))

    def callback(phase: str, info: dict[str, int]) -> None:
        calls[0] += 1
        for receive, send in channels[-1:]:
            waiting: Any = receive()
            waiting.close()
            for wrong in ({}, {"type": "nonsense"}):
                with contextlib.suppress(OSError, RuntimeError):
                    _ = send(wrong)

    async def scenario(server: InProcess) -> None:
        thresholds = gc.get_threshold()
        gc.set_threshold(1, 1, 1)
        gc.callbacks.append(callback)
        try:
            async with server.connect() as client:
                for number in range(100):
                    response = await client.get("/suspend" if number % 2 else "/", method="POST", body=b"abc")
                    assert response.body == b"abc"
        finally:
            gc.callbacks.remove(callback)
            gc.set_threshold(*thresholds)

    serving(backend, app, scenario)
    assert calls[0] > 100


def test_messages_whose_keys_and_values_run_code(backend: Backend) -> None:
    depth = [0]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        def again() -> None:
            if depth[0] < 3:
                depth[0] += 1
                drive(receive)
                _ = send(body(b"", more=True))
                depth[0] -= 1

        class Truth:
            def __bool__(self) -> bool:
                again()
                return True

        def headers() -> Any:
            yield b"x-one", b"1"
            drive(receive)
            yield b"x-two", b"2"

        await send({"type": "http.response.start", "status": 200, "headers": headers()})
        key = StrBomb("more_body")
        key.action = lambda: None
        message: Message = {key: Truth(), "type": "http.response.body", "body": b"inner"}
        key.action = again
        await send(message)
        key.action = lambda: None
        await send(body(b" last"))

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            response = await client.get()
            assert (response.body, response.field(b"x-two")) == (b"inner last", b"2")

    serving(backend, app, scenario)


def test_headers_that_send_a_whole_response_while_they_are_read(backend: Backend) -> None:
    """The inner start wins; the outer one is refused like any second start."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        def headers() -> Any:
            yield b"x-outer", b"1"
            _ = send(start(200, (b"x-inner", b"1")))
            _ = send(body(b"inner"))

        with pytest.raises(RuntimeError, match=r"http\.response\.start: the response is already complete"):
            await send({"type": "http.response.start", "status": 500, "headers": headers()})

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for _ in range(2):
                response = await client.get()
                assert (response.status, response.body) == (200, b"inner")
                assert response.field(b"x-outer") is None

    serving(backend, app, scenario)


def test_an_application_that_closes_its_own_client(backend: Backend) -> None:
    clients: list[Connection] = []
    outcome: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/check":
            return await answer(send)
        await send(start())
        await send(body(b"x", more=True))
        clients[-1].reset()
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        try:
            await send(body(b"y"))
        except OSError:
            outcome.append("disconnected")
        return None

    async def scenario(server: InProcess) -> None:
        for _ in range(5):
            async with server.connect() as client:
                clients.append(client)
                await client.request()
                await server.wait_idle()
        await check(server)

    serving(backend, app, scenario)
    assert outcome == ["disconnected"] * 5


def test_a_second_loop_run_inside_a_handler(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/nested":
            outer = asyncio.get_running_loop()
            task = asyncio.current_task()
            assert task is not None
            asyncio.tasks._leave_task(outer, task)
            asyncio._set_running_loop(None)
            try:
                assert asyncio.run(asyncio.sleep(0, "inner")) == "inner"
            finally:
                asyncio._set_running_loop(outer)
                asyncio.tasks._enter_task(outer, task)
        await answer(send, scope["path"].encode())

    async def scenario(server: InProcess) -> None:
        async with server.connect() as one, server.connect() as two:
            await two.request("/other")
            assert (await one.get("/nested")).body == b"/nested"
            assert (await two.response()).body == b"/other"

    serving(backend, app, scenario)


def test_the_same_loop_turned_inside_a_handler() -> None:
    """What nest_asyncio does. The engine must neither start a turn within a turn nor lose anybody."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/nested":
            if await read_body(receive):
                await asyncio.sleep(0)
            loop: Any = asyncio.get_running_loop()
            task = asyncio.current_task()
            assert task is not None
            asyncio.tasks._leave_task(loop, task)
            try:
                for _ in range(20):
                    loop.call_soon(len, b"so that it does not wait")
                    loop._run_once()
            finally:
                asyncio.tasks._enter_task(loop, task)
        await answer(send, scope["path"].encode())

    async def scenario(server: InProcess) -> None:
        for data in (b"", b"suspend first"):
            async with server.connect() as one, server.connect() as two:
                await one.request("/nested", method="POST", body=data)
                for _ in range(3):
                    assert (await two.get("/other")).body == b"/other"
                assert (await one.response()).body == b"/nested"

    serving(Backend("asyncio"), app, scenario)


def test_channels_outlive_their_request_connection_and_server(backend: Backend) -> None:
    kept: list[tuple[Receive, Send]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kept.append((receive, send))
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for _ in range(3):
                await client.get()
            for receive, send in kept:
                assert (await receive())["type"] == "http.disconnect"
                with pytest.raises(RuntimeError, match="already complete"):
                    await send(body(b"stray"))
            # The strays did not reach the connection.
            assert (await client.get()).body == b"ok"
        await server.wait_idle()
        for receive, send in kept:
            assert (await receive())["type"] == "http.disconnect"
            with pytest.raises((RuntimeError, OSError)):
                await send(body(b"stray"))

    serving(backend, app, scenario)
    for receive, send in kept:
        drive(receive)
        with pytest.raises((RuntimeError, OSError)):
            _ = send(body(b"stray"))


def test_channels_dropped_by_another_thread(backend: Backend) -> None:
    """The last reference to `send` and `receive` goes away on a worker thread."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        def hold(*channels: object) -> int:
            return len(channels)

        await answer(
            send, b"%d" % await asyncio.get_running_loop().run_in_executor(None, hold, receive, send, receive())
        )

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for _ in range(50):
                assert (await client.get()).body == b"3"
        assert threading.current_thread() is threading.main_thread()

    serving(backend, app, scenario)


def test_the_server_ends_while_a_handler_asks_it_to(backend: Backend) -> None:
    servers: list[InProcess] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        servers[0].engine.stats()
        servers[0].engine.turn()
        await send(body(b"fine", more=True))
        await asyncio.sleep(0)
        servers[0].engine.turn()
        await send(body())

    async def scenario(server: InProcess) -> None:
        servers.append(server)
        async with server.connect() as client:
            assert (await client.get()).body == b"fine"

    serving(backend, app, scenario)
