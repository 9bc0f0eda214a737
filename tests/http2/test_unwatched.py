"""What is to be done on a connection is done although nothing else happens there: no later frame, no other request.

Client and server share a loop, so that the test decides when either goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator

from support.apps import answer, read_body
from support.backends import HTTP2
from support.frames import PING, PONG, frame
from support.http2 import Http2
from support.inprocess import InProcess, Receive, Scope, Send, serving, wait_until

WINDOW = 65_535


@contextlib.contextmanager
def connected(server: InProcess) -> Iterator[Http2]:
    with socket.socket() as sock:
        sock.connect(server.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Http2(sock)


async def rounds(count: int = 50) -> None:
    """Whatever can be done is done."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(client: Http2, condition: Callable[[], bool]) -> None:
    """Reads what comes until the condition holds."""
    while not condition():
        client.look()
        await asyncio.sleep(0.001)


def test_a_body_for_which_there_is_no_window_is_not_slow() -> None:
    """Other bodies that nobody takes hold the connection's window: the time is the server's."""
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/held":
            await go.wait()
        if scope["path"] == "/slow":
            assert await receive() == {"type": "http.disconnect"}
            return
        await answer(send, b"%d" % len(await read_body(receive)))

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.begin("/held", length=WINDOW)
            await client.send_body(b"h" * WINDOW)
            await client.begin("/without", length=4)
            await client.send_body(b"late")
            await wait_until(lambda: server.engine.active == 2)
            # One that came later and is slow: when it is over, the others' time is over, too.
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
            writer.close()
            go.set()
            assert (await client.response()).body == b"%d" % WINDOW
            response = await client.response()
            assert (response.status, response.body) == (200, b"4")

    options = {"h2_stream_window": WINDOW, "h2_connection_window": WINDOW, "body_rate_grace": 0.3}
    serving(HTTP2, app, scenario, **options)


def test_a_pong_that_is_there_counts_however_long_the_loop_was_blocked() -> None:
    codes: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        codes.append((await receive())["code"])

    async def scenario(server: InProcess) -> None:
        with connected(server) as client:
            pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/")]
            fields = [*pseudo, (":authority", "a"), ("sec-websocket-version", "13")]
            stream = client.begin_with(fields, end=False)
            seen = client.streams[stream]
            await until(client, lambda: len(seen.body) >= 6)
            assert seen.body[:2] == bytes([0x80 | PING, 4])
            client.h2.send_data(stream, frame(PONG, seen.body[2:6]))
            client.flush()
            time.sleep(1.2)  # noqa: ASYNC251 - the server's loop, too
            await rounds()
            assert codes == []
            client.reset(stream)
            await wait_until(lambda: codes == [1006])

    serving(HTTP2, app, scenario, ws_ping_interval=0.1, ws_ping_timeout=1.0)
