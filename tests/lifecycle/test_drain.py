"""A drain is gentle and bounded: WebSockets go one after the other, event streams whole. RFC 6455 §7.4.1."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator

import httpx
import pytest
from support.server import ServerProcess, serving
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from lifecycle.running import SERVED

SECONDS = 30.0  # for what is quick, on a busy machine
LOOPS = ("asyncio", "uvloop")
STREAMS = ("events", "asking", "ticking", "deaf")
BLANK = ("\n\n", "\r\n\r\n")  # behind each event


def lasting(grace: str, loop: str = "asyncio") -> contextlib.AbstractContextManager[ServerProcess]:
    return serving("lasting:app", "--timeout-graceful-shutdown", grace, directory=SERVED, loop=loop)


async def open_sockets(server: ServerProcess, count: int) -> list[ClientConnection]:
    sockets: list[ClientConnection] = []
    while len(sockets) < count:
        group = (connect(f"ws://127.0.0.1:{server.port}/echo", open_timeout=SECONDS) for _ in range(25))
        sockets += await asyncio.gather(*group)
    await sockets[-1].send("hello")
    assert await sockets[-1].recv() == "hello"
    return sockets


async def close_of(socket: ClientConnection) -> tuple[float, int]:
    """When the other side closes, and with what code."""
    with pytest.raises(ConnectionClosed) as closed:
        await socket.recv()
    assert closed.value.rcvd is not None
    return time.monotonic(), closed.value.rcvd.code


@pytest.mark.parametrize("loop", LOOPS)
def test_websockets_are_closed_one_after_the_other(loop: str) -> None:
    """10 ms for each: 200 of them over 2 s, 10 every 50 ms."""

    async def run(server: ServerProcess) -> list[tuple[float, int]]:
        async with asyncio.timeout(SECONDS):
            sockets = await open_sockets(server, 200)
            server.process.send_signal(signal.SIGTERM)
            return sorted(await asyncio.gather(*map(close_of, sockets)))

    with lasting("60s", loop) as server:
        closes = asyncio.run(run(server))
        assert {code for _, code in closes} == {1012}
        times = [when for when, _ in closes]
        assert times[-1] - times[0] > 0.5, "they were closed all at once"
        largest = max(sum(1 for when in times if begin <= when < begin + 0.04) for begin in times)
        assert largest < 150, "most of them were closed at once"
        assert server.wait_for_end(SECONDS) == 0


class Stream:
    """An open event stream and what came of it."""

    def __init__(self, response: httpx.Response) -> None:
        self._parts = response.iter_text()
        self.text = ""
        while "data: begun" not in self.text:
            self.text += next(self._parts)

    def read(self) -> str:
        """The rest. httpx raises `RemoteProtocolError` where the last chunk is missing, `ReadError` on a reset."""
        self.text += "".join(self._parts)
        return self.text


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=SECONDS) as client:
        yield client


def begin(
    stack: contextlib.ExitStack, client: httpx.Client, server: ServerProcess, *names: str, method: str = "GET"
) -> list[Stream]:
    url = f"http://127.0.0.1:{server.port}"
    return [Stream(stack.enter_context(client.stream(method, f"{url}/{name}"))) for name in names]


@pytest.mark.parametrize("loop", LOOPS)
def test_event_streams_that_listen_end_at_once(loop: str, client: httpx.Client) -> None:
    with lasting("60s", loop) as server, contextlib.ExitStack() as stack:
        events, asking = begin(stack, client, server, "events", "asking")
        server.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        events.read()
        assert asking.read().endswith("data: ended\n\n")
        client.close()
        assert server.wait_for_end(SECONDS) == 0
        assert time.monotonic() - started < SECONDS


@pytest.mark.parametrize("loop", LOOPS)
def test_every_event_stream_is_whole_and_a_cut_download_is_not(loop: str, client: httpx.Client) -> None:
    """Event streams are over before the deadline; it cuts what is left, so that it shows."""
    with lasting("3s", loop) as server, contextlib.ExitStack() as stack:
        streams = begin(stack, client, server, *STREAMS, *STREAMS)
        (download,) = begin(stack, client, server, "download")
        (posted,) = begin(stack, client, server, "ticking", method="POST")
        server.process.send_signal(signal.SIGTERM)
        for stream in streams:
            assert stream.read().endswith(BLANK)
        for cut in (download, posted):
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                cut.read()
        server.wait_for_log("connections did not end in time")
        assert server.wait_for_end(SECONDS) == 0


def test_ticking_streams_alone_leave_nothing_to_the_deadline(client: httpx.Client) -> None:
    with lasting("3s") as server, contextlib.ExitStack() as stack:
        streams = begin(stack, client, server, "ticking", "ticking", "ticking")
        server.process.send_signal(signal.SIGTERM)
        for stream in streams:
            assert stream.read().endswith(BLANK)
        client.close()
        assert server.wait_for_end(SECONDS) == 0
        assert "did not end in time" not in server.log


@pytest.mark.parametrize("how", ["without time", "now"])
def test_at_once_all_are_told_all_the_same(how: str, client: httpx.Client) -> None:
    """With a second signal, or no time to finish: WebSockets get their code, event streams their end."""

    async def run(server: ServerProcess) -> None:
        async with asyncio.timeout(SECONDS):
            sockets = await open_sockets(server, 25)
            closing = [asyncio.ensure_future(close_of(socket)) for socket in sockets]
            await asyncio.to_thread(tell, server)
            assert {code for _, code in await asyncio.gather(*closing)} == {1012}
            for stream in streams:
                await asyncio.to_thread(stream.read)

    def tell(server: ServerProcess) -> None:
        server.process.send_signal(signal.SIGTERM)
        if how == "now":
            server.wait_for_log("finishing the running requests")
            server.signal_again(signal.SIGTERM)

    with lasting("0s" if how == "without time" else "60s") as server, contextlib.ExitStack() as stack:
        streams = begin(stack, client, server, *STREAMS)
        asyncio.run(run(server))
        assert server.wait_for_end(SECONDS) == 0
