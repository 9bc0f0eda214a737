"""What may be served: every callable that returns an awaitable, started in every way that a loop may ask for."""

import asyncio
import functools
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest
from support.apps import answer, read_body
from support.inprocess import App, Backend, InProcess, Receive, Scope, Send, serving, wait_until


def body_of(backend: Backend, app: App, **options: Any) -> bytes:
    async def scenario(server: InProcess) -> bytes:
        async with server.connect() as client:
            first = await client.get(method="POST", body=b"x" * 10)
            second = await client.get(method="POST", body=b"x" * 10)
            assert first.body == second.body
            return first.body

    return serving(backend, app, scenario, **options)


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"%d" % len(await read_body(receive)))


class Instance:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await plain(scope, receive, send)

    async def method(self, scope: Scope, receive: Receive, send: Send) -> None:
        await plain(scope, receive, send)

    @staticmethod
    async def static(scope: Scope, receive: Receive, send: Send) -> None:
        await plain(scope, receive, send)


def returns_a_task(scope: Scope, receive: Receive, send: Send) -> asyncio.Task[None]:
    return asyncio.ensure_future(plain(scope, receive, send))


def returns_a_future(scope: Scope, receive: Receive, send: Send) -> asyncio.Future[None]:
    return asyncio.gather(plain(scope, receive, send))  # type: ignore[return-value]


class Awaitable:
    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.call = functools.partial(plain, scope, receive, send)

    def __await__(self) -> Generator[Any, None, None]:
        return self.call().__await__()


@types.coroutine
def generator_based(scope: Scope, receive: Receive, send: Send) -> Generator[Any, None, None]:
    yield from plain(scope, receive, send).__await__()


def asgi2(scope: Scope) -> Callable[[Receive, Send], Coroutine[Any, Any, None]]:
    return functools.partial(plain, scope)


APPLICATIONS: list[App] = [
    plain,
    Instance(),
    Instance().method,
    Instance.static,
    functools.partial(plain),
    lambda scope, receive, send: plain(scope, receive, send),
    returns_a_task,
    returns_a_future,
    Awaitable,
    generator_based,
    asgi2,  # type: ignore[list-item]
]


@pytest.mark.parametrize("app", APPLICATIONS, ids=lambda app: getattr(app, "__name__", type(app).__name__))
def test_served(backend: Backend, app: App) -> None:
    assert body_of(backend, app) == b"10"


@pytest.mark.parametrize(
    "returned", [None, 5, "text", (lambda: None), iter(())], ids=lambda value: type(value).__name__
)
def test_what_returns_no_awaitable_is_told_so(backend: Backend, returned: object) -> None:
    def app(scope: Scope, receive: Receive, send: Send) -> object:
        return returned

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            assert (await client.get()).status == 500
        traceback = server.log.tracebacks()
        assert "TypeError: an ASGI application returns an awaitable" in traceback
        assert f"returned {type(returned).__name__}" in traceback

    serving(backend, app, scenario)


def test_an_exception_before_there_is_a_coroutine(backend: Backend) -> None:
    def app(scope: Scope, receive: Receive, send: Send) -> Any:
        raise LookupError("synchronous")

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            assert (await client.get()).status == 500
        assert "LookupError: synchronous" in server.log.tracebacks()

    serving(backend, app, scenario)


LOOPS = ("asyncio", "uvloop")


def eager_way() -> str:
    return "eager" if sys.version_info >= (3, 12, 5) else "captured"


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("eager", [True, False])
def test_the_first_step_runs_at_once_unless_told_otherwise(loop: str, eager: bool) -> None:
    steps: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        steps.append("first step")
        assert asyncio.current_task() is not None
        await answer(send)

    def call(scope: Scope, receive: Receive, send: Send) -> Any:
        asyncio.get_running_loop().call_soon(steps.append, "next turn")
        return app(scope, receive, send)

    async def scenario(server: InProcess) -> None:
        assert server.engine.task_start == (eager_way() if eager else "scheduled")
        async with server.connect() as client:
            await client.get()

    serving(Backend(loop, loop=loop), call, scenario, eager_start=eager)
    assert steps == (["first step", "next turn"] if eager else ["next turn", "first step"])


class MarkedTask(asyncio.Task[Any]):
    pass


@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_factory_of_the_loop_is_used(loop: str) -> None:
    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        return MarkedTask(coroutine, loop=loop, **options)

    def prepare(loop: asyncio.AbstractEventLoop) -> None:
        loop.set_task_factory(factory)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert type(asyncio.current_task()) is MarkedTask
        await plain(scope, receive, send)

    async def scenario(server: InProcess) -> None:
        assert server.engine.task_start == "factory"
        async with server.connect() as client:
            assert (await client.get(method="POST", body=b"abc")).body == b"3"

    serving(Backend(loop, loop=loop, prepare=prepare), app, scenario)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.eager_task_factory is new in 3.12")
def test_asyncios_own_eager_factory() -> None:
    def prepare(loop: asyncio.AbstractEventLoop) -> None:
        loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - unknown to 3.11

    assert body_of(Backend("eager factory", prepare=prepare), plain) == b"10"


@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_factory_that_raises_costs_one_request(loop: str) -> None:
    broken = False

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        if broken and coroutine.__name__ == "app":
            coroutine.close()
            raise RuntimeError("factory")
        return asyncio.Task(coroutine, loop=loop, **options)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)

    async def scenario(server: InProcess) -> None:
        nonlocal broken
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            assert (await client.get()).status == 200
            broken = True
            assert (await client.get()).status == 500
            broken = False
        async with server.connect() as client:
            assert (await client.get()).status == 200

    serving(Backend(loop, loop=loop, prepare=lambda running: running.set_task_factory(factory)), app, scenario)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("suspend", [False, True])
def test_debug_mode_of_the_loop(loop: str, suspend: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if suspend:
            await asyncio.sleep(0)
        await plain(scope, receive, send)

    assert body_of(Backend(loop, loop=loop, prepare=lambda running: running.set_debug(True)), app) == b"10"


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_soon_of_somebody_elses_on_the_loop_survives(loop: str) -> None:
    seen: list[object] = []

    def prepare(running: asyncio.AbstractEventLoop) -> None:
        real = running.call_soon

        def spy(callback: Callable[..., object], *arguments: object, context: Any = None) -> asyncio.Handle:
            seen.append(callback)
            return real(callback, *arguments, context=context)

        running.call_soon = spy  # type: ignore[method-assign]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asyncio.get_running_loop().call_soon(len, b"marked")
        await asyncio.sleep(0)
        await plain(scope, receive, send)

    assert body_of(Backend(loop, loop=loop, prepare=prepare), app) == b"10"
    assert seen.count(len) == 2


@pytest.mark.parametrize("loop", LOOPS)
def test_the_loops_own_method_is_back_after_each_turn(loop: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        assert "call_soon" not in vars(asyncio.get_running_loop())
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            assert (await client.get()).status == 200
        await wait_until(lambda: server.engine.active == 0)
        assert "call_soon" not in vars(server.loop)

    serving(Backend(loop, loop=loop), app, scenario)
