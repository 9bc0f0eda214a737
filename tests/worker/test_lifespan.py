"""ASGI Lifespan 2.0: modes, state, context, failures, and applications that do not know it."""

import asyncio
import contextvars
import logging
import socket
from collections.abc import Coroutine
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from swell.errors import AppLoadError
from swell.worker.asgi import Application, Receive, Scope, Send
from swell.worker.lifespan import Lifespan
from worker.launching import launched, outcome, wait_listening

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


async def well_behaved(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
    assert (await receive()) == {"type": "lifespan.startup"}
    scope["state"]["pool"] = "connected"
    VARIABLE.set("set by startup")
    await send({"type": "lifespan.startup.complete"})
    assert (await receive()) == {"type": "lifespan.shutdown"}
    scope["state"]["pool"] = "closed"
    await send({"type": "lifespan.shutdown.complete"})


async def ignorant(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"


async def quiet(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise OSError("no database")


def refusing(message: str, error: BaseException | None = None) -> Application:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": message})
        if error is not None:
            raise error

    return app


@pytest.fixture(autouse=True)
def _visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging may have been set up by another test of this process."""
    monkeypatch.setattr(logging.getLogger("swell"), "propagate", True)


def run(step: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(step, 20))


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_and_shutdown(mode: Any) -> None:
    async def scenario() -> None:
        lifespan = Lifespan(well_behaved, mode)
        await lifespan.startup()
        assert lifespan.supported
        assert lifespan.state == {"pool": "connected"}
        assert lifespan.context[VARIABLE] == "set by startup"
        assert VARIABLE.get() == "unset", "its context is its own"
        assert await lifespan.shutdown()
        assert lifespan.state == {"pool": "closed"}

    run(scenario())


def test_off_does_not_call_the_application() -> None:
    async def scenario() -> None:
        lifespan = Lifespan(broken, "off")
        await lifespan.startup()
        assert not lifespan.supported
        assert await lifespan.shutdown()

    run(scenario())


@pytest.mark.parametrize(("app", "level"), [(ignorant, "DEBUG"), (quiet, "DEBUG"), (broken, "WARNING")])
def test_auto_goes_on_without(app: Application, level: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        lifespan = Lifespan(app, "auto")
        await lifespan.startup()
        assert not lifespan.supported
        assert await lifespan.shutdown()

    with caplog.at_level(logging.DEBUG, "swell"):
        run(scenario())
    assert [record.levelname for record in caplog.records if record.name == "swell"] == [level]


@pytest.mark.parametrize(
    ("app", "said", "cause"),
    [
        (ignorant, "failed before startup was complete", AssertionError),
        (broken, "failed before startup was complete", OSError),
        (quiet, "returned before startup was complete", None),
    ],
)
def test_on_asks_for_it(app: Application, said: str, cause: type[BaseException] | None) -> None:
    async def scenario() -> None:
        with pytest.raises(AppLoadError, match=said) as caught:
            await Lifespan(app, "on").startup()
        assert type(caught.value.__cause__) is (type(None) if cause is None else cause)

    run(scenario())


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        ("no database", None, "the application's startup failed: no database"),
        ("", None, "the application's startup failed"),
        ("no database", OSError("refused"), "the application's startup failed: no database"),
        ("Traceback\n  whole\nOSError: refused\n", OSError("refused"), "the application's startup failed"),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_reported_failure_is_raised(mode: Any, message: str, error: BaseException | None, text: str) -> None:
    async def scenario() -> None:
        with pytest.raises(AppLoadError) as caught:
            await Lifespan(refusing(message, error), mode).startup()
        assert str(caught.value) == text
        assert caught.value.__cause__ is error

    run(scenario())


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (["lifespan.begun"], "is not a lifespan message"),
        (["http.response.start"], "is not a lifespan message"),
        (["lifespan.shutdown.complete"], "before startup was complete"),
        (["lifespan.startup.complete", "lifespan.startup.complete"], "sent twice"),
        (["lifespan.startup.failed", "lifespan.startup.complete"], "sent twice"),
    ],
)
def test_wrong_messages_are_told(kinds: list[str], said: str) -> None:
    errors: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            for kind in kinds:
                await send({"type": kind})
        except RuntimeError as error:
            errors.append(str(error))

    async def scenario() -> None:
        lifespan = Lifespan(app, "auto")
        if kinds[0] == "lifespan.startup.failed":
            with pytest.raises(AppLoadError):
                await lifespan.startup()
        else:
            await lifespan.startup()
        await lifespan.cancel()

    run(scenario())
    assert len(errors) == 1
    assert said in errors[0]


@pytest.mark.parametrize("way", ["report", "raise"])
def test_a_failed_shutdown_is_logged(way: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if way == "raise":
            raise OSError("cannot flush")
        await send({"type": "lifespan.shutdown.failed", "message": "cannot flush"})

    async def scenario() -> None:
        lifespan = Lifespan(app, "auto")
        await lifespan.startup()
        assert not await lifespan.shutdown()

    run(scenario())
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "cannot flush" in caplog.text


def test_a_lifespan_that_dies_early_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise OSError("lost the database")

    async def scenario() -> None:
        lifespan = Lifespan(app, "auto")
        await lifespan.startup()
        for _ in range(3):
            await asyncio.sleep(0)
        assert "failed while it was serving" in caplog.text
        assert not await lifespan.shutdown()

    run(scenario())
    assert len(caplog.records) == 1
    assert "lost the database" in caplog.text


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_failed_startup_is_exit_code_3_with_the_users_own_traceback(tmp_path: Path, loop: str) -> None:
    source = """
        import traceback
        async def connect():
            raise ConnectionError("no database")
        async def app(scope, receive, send):
            await receive()
            try:
                await connect()
            except ConnectionError:
                await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
                raise
        """
    (tmp_path / "main.py").write_text(dedent(source))
    code, output = outcome("main:app", "--port", "0", "--loop", loop, directory=tmp_path)
    assert code == 3
    assert output.count("Traceback") == 1, output
    assert "/swell/" not in output
    assert "in connect" in output
    assert output.endswith("ConnectionError: no database\nswell: the application's startup failed\n")
    assert "listening" not in output


def test_connections_wait_for_startup(tmp_path: Path) -> None:
    source = """
        import asyncio, sys
        READY = False
        async def app(scope, receive, send):
            global READY
            if scope["type"] == "lifespan":
                await receive()
                print("starting", flush=True)
                await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
                READY = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": str(READY).encode()})
        """
    (tmp_path / "main.py").write_text(dedent(source))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        with launched("main:app", "--fd", str(number), directory=tmp_path, pass_fds=[number], stdin=True) as server:
            server.wait_for_log("^starting")
            with socket.create_connection(listener.getsockname(), 15) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                assert server.process.stdin is not None
                server.process.stdin.write("go on\n")
                server.process.stdin.flush()
                with client.makefile("rb") as file:
                    assert file.read().endswith(b"\r\n\r\nTrue")
            wait_listening(server)
            server.stop()


class Recorded:
    """An event as an application may have it, of whatever library."""

    def __init__(self, error: Exception | None = None) -> None:
        self.times_set = 0
        self._error = error

    def set(self) -> None:
        if self._error is not None:
            raise self._error
        self.times_set += 1


def with_state(**state: Any) -> Application:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        scope["state"].update(state)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return app


def test_an_event_in_the_state_is_set_when_the_end_begins() -> None:
    async def scenario() -> None:
        event = Recorded()
        lifespan = Lifespan(with_state(**{"swell.lifecycle": event}), "on")
        await lifespan.startup()
        assert event.times_set == 0
        lifespan.tell_draining()
        assert event.times_set == 1
        assert await lifespan.shutdown()

    run(scenario())


def test_nothing_is_put_into_a_state_without_an_event() -> None:
    async def scenario() -> None:
        lifespan = Lifespan(well_behaved, "on")
        await lifespan.startup()
        lifespan.tell_draining()
        assert lifespan.state == {"pool": "connected"}
        assert await lifespan.shutdown()

    run(scenario())


@pytest.mark.parametrize("thing", [True, Recorded(RuntimeError("no loop"))])
def test_an_event_that_cannot_be_set_is_reported_and_does_not_keep_the_worker_from_ending(
    thing: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        lifespan = Lifespan(with_state(**{"swell.lifecycle": thing}), "on")
        await lifespan.startup()
        lifespan.tell_draining()
        assert await lifespan.shutdown()

    run(scenario())
    (record,) = [record for record in caplog.records if record.name == "swell"]
    assert "'swell.lifecycle' that cannot be set" in record.getMessage()
