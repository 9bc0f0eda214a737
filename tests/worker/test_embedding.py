"""`swell.Server` on somebody else's loop, and `swell.run`: as tests, notebooks and programs use them."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from swell import Config, Server
from swell.errors import AppLoadError, StartupError
from worker.launching import launched, wait_listening

Scope = MutableMapping[str, Any]
Receive = Callable[[], Coroutine[Any, Any, MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Coroutine[Any, Any, None]]

SECONDS = 20.0
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=LOOPS)
def runner(request: pytest.FixtureRequest) -> Any:
    """Runs one coroutine after the other on a loop of each kind."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield lambda step: runner.run(asyncio.wait_for(step, SECONDS))


Run = Callable[[Coroutine[Any, Any, None]], None]


class App:
    """Answers with its name. /wait hangs. Counts what happens to it."""

    def __init__(self, name: str = "app") -> None:
        self.name = name
        self.events: list[str] = []
        self.waiting = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self.events.append("startup")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.events.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/wait":
            self.waiting.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.events.append("cancelled")
                raise
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.name.encode()})


def make(app: Any, **options: Any) -> Server:
    return Server(Config.make(app, port=0, access_log=False, **options))


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(server.serve())
    try:
        assert await server.wait_started(), "it did not start"
        yield task
        server.should_exit = True
        await task
    finally:
        task.cancel()


async def get(server: Server, path: str = "/") -> bytes:
    port = int(server.addresses[0].rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    try:
        return (await reader.read()).rpartition(b"\r\n\r\n")[2]
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_serves_on_a_loop_that_runs_already(runner: Run) -> None:
    async def scenario() -> None:
        app = App()
        server = make(app)
        assert not server.started
        async with serving(server):
            assert server.started
            assert await get(server) == b"app"
            assert app.events == ["startup"]
        assert not server.started
        assert app.events == ["startup", "shutdown"]

    runner(scenario())


def test_one_server_serves_twice_in_a_row(runner: Run) -> None:
    server = make(App())

    async def scenario() -> None:
        for _ in range(2):
            async with serving(server):
                assert await get(server) == b"app"
            assert server.should_exit
            server.should_exit = False

    runner(scenario())
    runner(scenario())


def test_one_server_serves_on_one_loop_after_the_other() -> None:
    server = make(App())

    async def scenario() -> None:
        async with serving(server):
            assert await get(server) == b"app"
        server.should_exit = False

    for factory in LOOPS.values():
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(scenario(), SECONDS))


def test_two_servers_on_one_loop(runner: Run) -> None:
    async def scenario() -> None:
        one, two = make(App("one")), make(App("two"))
        async with serving(one):
            async with serving(two):
                answers = await asyncio.gather(*(get(server) for server in (one, two) * 20))
                assert answers == [b"one", b"two"] * 20
            assert await get(one) == b"one", "the other's end changes nothing"

    runner(scenario())


def test_a_server_does_not_serve_twice_at_once(runner: Run) -> None:
    async def scenario() -> None:
        server = make(App())
        async with serving(server):
            with pytest.raises(RuntimeError, match="serving already"):
                await server.serve()
            assert await get(server) == b"app"

    runner(scenario())


def test_should_exit_from_another_thread(runner: Run) -> None:
    async def scenario() -> None:
        server = make(App())
        task = asyncio.create_task(server.serve())
        assert await server.wait_started()
        thread = threading.Thread(target=setattr, args=(server, "should_exit", True))
        thread.start()
        await task  # nothing else happens on the loop that could wake it
        thread.join(SECONDS)

    runner(scenario())


def test_should_exit_before_the_start_starts_nothing(runner: Run) -> None:
    async def scenario() -> None:
        app = App()
        server = make(app)
        server.should_exit = True
        waiter = asyncio.create_task(server.wait_started())
        await asyncio.sleep(0)
        await server.serve()
        assert await waiter is False
        assert app.events in ([], ["startup"])

    runner(scenario())


def test_cancelling_ends_gracefully(runner: Run) -> None:
    async def scenario() -> None:
        app = App()
        server = make(app)
        task = asyncio.create_task(server.serve())
        assert await server.wait_started()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert app.events == ["startup", "shutdown"]

    runner(scenario())


def test_cancelling_twice_ends_at_once(runner: Run) -> None:
    async def scenario() -> None:
        app = App()
        server = make(app, timeout_graceful_shutdown=60)
        task = asyncio.create_task(server.serve())
        assert await server.wait_started()
        client = asyncio.create_task(get(server, "/wait"))
        await app.waiting.wait()
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=0.2)
        assert not done, "the first cancellation waits for the request"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert app.events == ["startup", "cancelled", "shutdown"]
        with contextlib.suppress(ConnectionError):
            await client

    runner(scenario())


def test_works_under_a_timeout(runner: Run) -> None:
    async def scenario() -> None:
        app = App()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await make(app).serve()
        assert app.events == ["startup", "shutdown"]

    runner(scenario())


def test_cancelling_during_startup_cancels_the_startup(runner: Run) -> None:
    async def scenario() -> None:
        begun = asyncio.Event()
        events = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            assert scope["type"] == "lifespan"
            await receive()
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                events.append("cleaned up")

        task = asyncio.create_task(make(app).serve())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert events == ["cleaned up"]

    runner(scenario())


def test_given_sockets_are_used_and_stay_open(runner: Run) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = make(App())
            task = asyncio.create_task(server.serve([listener]))
            assert await server.wait_started()
            assert server.addresses == [f"http://127.0.0.1:{listener.getsockname()[1]}"]
            assert await get(server) == b"app"
            server.should_exit = True
            await task
            with socket.create_connection(listener.getsockname(), 5):
                pass

    runner(scenario())


def test_errors_are_raised(runner: Run) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(StartupError, match="it is in use"):
                await Server(Config.make(App(), port=port)).serve()
        with pytest.raises(AppLoadError, match="no module 'no_such_module'"):
            await make("no_such_module:app").serve()
        server = make(failing)
        waiter = asyncio.create_task(server.wait_started())
        with pytest.raises(AppLoadError, match="startup failed: no database"):
            await server.serve()
        assert await waiter is False

    runner(scenario())


def test_no_signal_handler_is_touched_unless_asked(runner: Run) -> None:
    async def scenario() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        async with serving(make(App())):
            assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        server = make(App())
        task = asyncio.create_task(server.serve(handle_signals=True))
        assert await server.wait_started()
        assert signal.getsignal(signal.SIGTERM) != before[1]
        os.kill(os.getpid(), signal.SIGTERM)
        await task
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

    runner(scenario())


def test_nothing_is_left_behind(runner: Run) -> None:
    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        return [b"wsgi"]

    async def once() -> None:
        async with serving(make(App())) as _, serving(make(wsgi, interface="wsgi")):
            pass
        for app, options in ((App(), {}), (wsgi, {"interface": "wsgi"})):
            server = make(app, **options)
            async with serving(server):
                await asyncio.gather(*(get(server) for _ in range(5)))

    def held() -> tuple[int, set[str], int]:
        gc.collect()
        threads = {thread.name for thread in threading.enumerate()}
        return len(os.listdir("/proc/self/fd")), threads, gc.get_freeze_count()

    async def scenario() -> None:
        await once()
        tasks = asyncio.all_tasks()
        for thread in threading.enumerate():
            if thread.name.startswith("swell"):
                thread.join(SECONDS)
        before = held()
        for _ in range(3):
            await once()
        for thread in threading.enumerate():
            if thread.name.startswith("swell"):
                thread.join(SECONDS)
        assert held() == before
        await asyncio.sleep(0)
        assert asyncio.all_tasks() <= tasks

    runner(scenario())


def test_serves_in_another_thread() -> None:
    server = make(App())
    started = threading.Event()

    async def scenario() -> None:
        task = asyncio.create_task(server.serve(handle_signals=True))
        assert await server.wait_started()
        started.set()
        await task

    thread = threading.Thread(target=asyncio.run, args=(scenario(),))
    thread.start()
    try:
        assert started.wait(SECONDS)
        with urllib.request.urlopen(server.addresses[0], timeout=SECONDS) as response:
            assert response.read() == b"app"
    finally:
        server.should_exit = True
        thread.join(SECONDS)
    assert not thread.is_alive()


PROGRAM = """
import signal, threading, sys, asyncio, swell

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"run"})

for _ in range(2):
    swell.run(app, port=0, lifespan="off")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    sys.stdout.write("returned\\n")
assert [t.name for t in threading.enumerate() if not t.daemon] == ["MainThread"]
try:
    swell.run(app, prot=0)
except swell.config.ConfigError as error:
    print(error, flush=True)
try:
    swell.run("no_such_module:app", port=0)
except SystemExit as end:
    print("exit code", end.code, flush=True)
"""


def test_run_returns_to_its_program(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    with launched(command=("program.py",), directory=tmp_path) as process:
        since = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            process.wait_for_log("listening on", since=since)
            process.process.send_signal(number)
            process.wait_for_log("^returned", since=since)
            since = 1 + max(i for i, line in enumerate(process.log_since(0)) if line == "returned\n")
        process.wait_for_log("unknown option prot: did you mean port")
        process.wait_for_log("exit code 3")
        assert process.wait_for_end() == 0
        assert "Traceback" not in process.log


def test_the_blocking_program_leaves_with_its_server(tmp_path: Path) -> None:
    """asyncio.run of a server without our signal handling: Ctrl-C is asyncio's, which cancels."""
    source = PROGRAM.split("for _", 1)[0] + (
        "try:\n    asyncio.run(swell.Server(swell.Config.make(app, port=0)).serve())\n"
        "except KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
    )
    (tmp_path / "program.py").write_text("import logging; logging.basicConfig(level='INFO')\n" + source)
    with launched(command=("program.py",), directory=tmp_path) as process:
        wait_listening(process)
        process.process.send_signal(signal.SIGINT)
        process.wait_for_log("^interrupted")
        assert process.wait_for_end() == 0
