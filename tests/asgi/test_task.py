"""The application runs in a real `asyncio.Task` from its first step on, in a context of its own."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import sniffio
from support.apps import answer
from support.inprocess import Backend, InProcess, Message, Receive, Scope, Send, serving, wait_until

Handler = Callable[[Receive, Send], Awaitable[bytes]]


def result_of(backend: Backend, handler: Handler) -> bytes:
    """The bytes that the handler returns, as the client gets them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, await handler(receive, send))

    async def scenario(server: InProcess) -> bytes:
        async with server.connect() as client:
            return (await client.get()).body

    return serving(backend, app, scenario)


def test_current_task_is_there_in_the_first_step(backend: Backend) -> None:
    async def handler(receive: Receive, send: Send) -> bytes:
        task = asyncio.current_task()
        assert type(task) is asyncio.Task or isinstance(task, asyncio.Task)
        assert task in asyncio.all_tasks()
        assert not task.done()
        await asyncio.sleep(0)
        assert asyncio.current_task() is task
        assert task in asyncio.all_tasks()
        return b"yes"

    assert result_of(backend, handler) == b"yes"


def test_the_loop_in_the_first_step_is_the_loop_as_it_always_is(backend: Backend) -> None:
    """Native functions stand in for methods of the loop while tasks are started."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def handler(receive: Receive, send: Send) -> bytes:
        loop = asyncio.get_running_loop()
        loops.append(loop)
        flags = [loop.get_debug()]
        loop.set_debug(True)
        flags.append(loop.get_debug())
        soon = loop.create_future()
        loop.call_soon(soon.set_result, b"soon")
        loop.set_debug(False)
        flags.append(loop.get_debug())
        assert flags == [False, True, False]
        return bytes(await soon)

    assert result_of(backend, handler) == b"soon"
    assert not {"call_soon", "get_debug"} & vars(loops[0]).keys()


def test_no_task_is_left_over_as_the_current_one(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/suspend":
            await asyncio.sleep(0)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        current: list[object] = []
        async with server.connect() as client:
            for target in ("/", "/suspend"):
                await client.get(target)
                done = asyncio.Event()

                def look(done: asyncio.Event = done) -> None:
                    current.append(asyncio.current_task())
                    done.set()

                server.loop.call_soon(look)
                await done.wait()
        assert current == [None, None]
        mine = asyncio.current_task()
        assert [task for task in asyncio.all_tasks() if task is mine] == [mine]

    serving(backend, app, scenario)


def test_timeout_in_the_first_step(backend: Backend) -> None:
    async def handler(receive: Receive, send: Send) -> bytes:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return b"timed out"
        return b"not"

    assert result_of(backend, handler) == b"timed out"


def test_task_group_in_the_first_step(backend: Backend) -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    async def handler(receive: Receive, send: Send) -> bytes:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(double(number)) for number in range(3)]
        return repr([task.result() for task in tasks]).encode()

    assert result_of(backend, handler) == b"[0, 2, 4]"


def test_task_group_that_fails(backend: Backend) -> None:
    async def fail() -> None:
        raise ValueError("child")

    async def handler(receive: Receive, send: Send) -> bytes:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.Event().wait()
        except* ValueError:
            return_value = b"grouped"
        return return_value

    assert result_of(backend, handler) == b"grouped"


def test_anyio_cancel_scope_and_task_group(backend: Backend) -> None:
    async def handler(receive: Receive, send: Send) -> bytes:
        assert sniffio.current_async_library() == "asyncio"
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        seen: list[str] = []
        async with anyio.create_task_group() as group:

            async def forever() -> None:
                try:
                    await anyio.sleep_forever()
                finally:
                    seen.append("cancelled")

            group.start_soon(forever)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            assert await anyio.to_thread.run_sync(lambda: 7) == 7
        return ",".join(seen).encode()

    assert result_of(backend, handler) == b"cancelled"


def test_anyio_can_start_send_and_receive_as_tasks(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            group.start_soon(send, {"type": "http.response.start", "status": 200})
        async with anyio.create_task_group() as group:
            group.start_soon(send, {"type": "http.response.body", "body": b"grouped"})

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            assert (await client.get()).body == b"grouped"

    serving(backend, app, scenario)


def test_nested_task(backend: Backend) -> None:
    async def inner() -> object:
        return asyncio.current_task()

    async def handler(receive: Receive, send: Send) -> bytes:
        outer = asyncio.current_task()
        task = asyncio.create_task(inner())
        assert await task is task
        assert asyncio.current_task() is outer
        return b"nested"

    assert result_of(backend, handler) == b"nested"


def test_a_cancelled_application_without_answer_gets_500_and_is_logged(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("by itself")
        await asyncio.Event().wait()

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "was cancelled")
        async with server.connect() as client:
            assert (await client.get()).status == 500

    serving(backend, app, scenario)


def test_cancellation_can_be_caught_and_undone(backend: Backend) -> None:
    async def handler(receive: Receive, send: Send) -> bytes:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            assert task.uncancel() == 0
        await asyncio.sleep(0)
        return b"survived"

    assert result_of(backend, handler) == b"survived"


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
started: contextvars.ContextVar[str] = contextvars.ContextVar("started", default="unset")


@pytest.mark.parametrize("suspend", [False, True])
def test_contexts_of_requests_are_separate_and_hold_what_startup_set(backend: Backend, suspend: bool) -> None:
    seen: list[tuple[str, str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            started.set("by startup")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen.append((variable.get(), started.get()))
        variable.set(scope["path"])
        started.set("by request")
        if suspend:
            await asyncio.sleep(0)
        await answer(send, variable.get().encode())

    async def scenario(server: InProcess) -> None:
        variable.set("of the client")
        async with server.connect() as client:
            for number in range(3):
                assert (await client.get(f"/{number}")).body == f"/{number}".encode()
        async with server.connect() as client:
            for _ in range(3):
                await client.request("/p")
            for _ in range(3):
                assert (await client.response()).body == b"/p"
        assert variable.get() == "of the client"

    serving(backend, app, scenario, lifespan="on")
    assert seen == [("unset", "by startup")] * 6


def test_callbacks_that_a_request_schedules_run_in_its_context(backend: Backend) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        variable.set(scope["path"])
        asyncio.get_running_loop().call_soon(lambda: seen.append(variable.get()))
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for target in ("/a", "/b"):
                await client.get(target)
        await wait_until(lambda: len(seen) == 2)

    serving(backend, app, scenario)
    assert seen == ["/a", "/b"]


def test_work_after_the_response_goes_on_while_the_next_request_is_served(backend: Backend) -> None:
    events: list[str] = []
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, scope["path"].encode())
        if scope["path"] == "/background":
            after: Message = await receive()
            events.append(after["type"])
            await release.wait()
            events.append("background done")

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            assert (await client.get("/background")).body == b"/background"
            assert (await client.get("/next")).body == b"/next"
            events.append("next served")
            assert server.engine.active == 1
            release.set()
            await wait_until(lambda: server.engine.active == 0)

    serving(backend, app, scenario)
    assert events == ["http.disconnect", "next served", "background done"]


def test_a_keyboard_interrupt_in_an_application_is_not_swallowed() -> None:
    for suspend in (False, True):

        async def app(scope: Scope, receive: Receive, send: Send, suspend: bool = suspend) -> None:
            if suspend:
                await asyncio.sleep(0)
            raise KeyboardInterrupt

        async def scenario(server: InProcess) -> Any:
            server.log.expect(40, "exception in the ASGI application")
            async with server.connect() as client:
                await client.request()
                await asyncio.Event().wait()

        with pytest.raises(KeyboardInterrupt):
            serving(Backend("asyncio"), app, scenario)
