"""The response extensions: pathsend, zerocopysend, trailers, early hints (ASGI HTTP 2.5, "Extensions"; RFC 8297)."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from support.apps import answer, body, start
from support.backends import HTTP2_TLS
from support.client import Response
from support.inprocess import App, Backend, InProcess, Message, Receive, Scope, Send, serving, wait_until

ALSO = (HTTP2_TLS,)  # with bytes in every size and order

DATA = bytes(range(256)) * 8192  # 2 MB: several times the socket buffers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def app_of(*messages: Message) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def two_responses(backend: Backend, app: App, method: str = "GET") -> Response:
    """The first of two equal responses on one connection."""

    async def scenario(server: InProcess) -> Response:
        async with server.connect() as client:
            first = await client.get(method=method)
            second = await client.get(method=method)
            assert (second.status, second.body, second.trailers) == (first.status, first.body, first.trailers)
            return first

    return serving(backend, app, scenario)


def pathsend(path: object) -> Message:
    return {"type": "http.response.pathsend", "path": path}


def test_pathsend(backend: Backend, file: Path) -> None:
    response = two_responses(backend, app_of(start(), pathsend(str(file))))
    assert response.body == DATA
    assert response.field(b"content-length") == b"%d" % len(DATA)


def test_pathsend_with_a_length_of_the_applications_own(backend: Backend, file: Path) -> None:
    length = (b"content-length", b"%d" % len(DATA))
    assert two_responses(backend, app_of(start(200, length), pathsend(str(file)))).body == DATA


def test_pathsend_of_an_empty_file_and_for_head(backend: Backend, tmp_path: Path, file: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert two_responses(backend, app_of(start(), pathsend(str(empty)))).field(b"content-length") == b"0"
    two_responses(backend, app_of(start(), pathsend(str(file))), "HEAD")


def test_pathsend_of_what_is_no_file(backend: Backend, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for name, error in (("missing", FileNotFoundError), ("fifo", OSError), (".", OSError)):
            with pytest.raises(error):
                await send(pathsend(str(tmp_path / name)))
        await send(body(b"fallback"))

    assert two_responses(backend, app).body == b"fallback"


@pytest.mark.parametrize(
    ("keys", "slice_"),
    [
        ({}, slice(None)),
        ({"offset": 5}, slice(5, None)),
        ({"count": 7}, slice(None, 7)),
        ({"offset": 1_000_000, "count": 500_000}, slice(1_000_000, 1_500_000)),
        ({"offset": len(DATA)}, slice(0, 0)),
        ({"count": 0}, slice(0, 0)),
    ],
)
def test_zerocopysend(backend: Backend, file: Path, keys: dict[str, int], slice_: slice) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with file.open("rb") as opened:
            await send(start())
            await send({"type": "http.response.zerocopysend", "file": opened, **keys})
        # It is closed here; the server has its own descriptor.

    response = two_responses(backend, app)
    assert response.body == DATA[slice_]
    assert not response.streamed


def test_zerocopysend_in_pieces_between_bodies(backend: Backend, file: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with file.open("rb") as opened:
            await send(start())
            await send(body(b"<", more=True))
            for at in range(0, len(DATA), len(DATA) // 4):
                message = {"type": "http.response.zerocopysend", "file": opened, "offset": at}
                await send({**message, "count": len(DATA) // 4, "more_body": True})
            await send(body(b">"))

    assert two_responses(backend, app).body == b"<" + DATA + b">"


def test_zerocopysend_starts_at_the_files_position(backend: Backend, file: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with file.open("rb", buffering=0) as opened:
            opened.seek(1000)
            await send(start())
            await send({"type": "http.response.zerocopysend", "file": opened})

    assert two_responses(backend, app).body == DATA[1000:]


@pytest.mark.parametrize("keys", [{"offset": -1}, {"count": -1}, {"offset": 0, "count": len(DATA) + 1}, {"count": "5"}])
def test_zerocopysend_beyond_the_file_is_refused(backend: Backend, file: Path, keys: dict[str, Any]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with file.open("rb") as opened:
            await send(start())
            with pytest.raises(RuntimeError, match=r"zerocopysend.*(offset|count)"):
                await send({"type": "http.response.zerocopysend", "file": opened, **keys})
            with pytest.raises(TypeError):
                await send({"type": "http.response.zerocopysend", "file": object()})
        await send(body(b"fallback"))

    assert two_responses(backend, app).body == b"fallback"


def test_a_file_cut_short_while_it_is_sent_aborts_the_response(backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "shrinking"
    size = 64 << 20
    with path.open("wb") as opened:
        opened.truncate(size)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            client.pause_reading()
            await client.request()
            await wait_until(lambda: server.engine.stats()["bytes_sent"] > 20_000)  # more than a TLS handshake
            os.truncate(path, 1000)
            client.resume_reading()
            response = await client.cut()
            assert response.field(b"content-length") == b"%d" % size
            assert len(response.body) < size

    serving(backend, app_of(start(), pathsend(str(path))), scenario)


def test_file_descriptors_are_given_back(backend: Backend, file: Path) -> None:
    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.get()
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(50):
                await client.get()
            assert len(os.listdir("/proc/self/fd")) == before
        # Also of responses that nobody waits for.
        for _ in range(10):
            async with server.connect() as client:
                client.pause_reading()
                await client.request()
                client.reset()
        await server.wait_idle()
        assert len(os.listdir("/proc/self/fd")) <= before

    serving(backend, app_of(start(), pathsend(str(file))), scenario)


TRAILER: Message = {"type": "http.response.trailers", "headers": [(b"x-checksum", b"abc"), (b"x-more", b"1")]}


@pytest.mark.parametrize("messages", [[body(b"whole")], [body(b"wh", more=True), body(b"ole")]])
def test_trailers(backend: Backend, messages: list[Message]) -> None:
    response = two_responses(backend, app_of(start(trailers=True), *messages, TRAILER))
    assert response.body == b"whole"
    assert response.streamed
    assert response.trailers == [(b"x-checksum", b"abc"), (b"x-more", b"1")]


def test_trailers_in_several_messages(backend: Backend) -> None:
    parts: list[Message] = [
        {**TRAILER, "more_trailers": True},
        {"type": "http.response.trailers", "headers": [(b"last", b"2")]},
    ]
    response = two_responses(backend, app_of(start(trailers=True), body(b"x"), *parts))
    assert response.trailers[-1] == (b"last", b"2")
    assert len(response.trailers) == 3


@pytest.mark.parametrize("status", [200, 204, 304])
def test_promised_trailers_are_dropped_where_there_is_no_body(backend: Backend, status: int) -> None:
    method = "HEAD" if status == 200 else "GET"
    two_responses(backend, app_of(start(status, trailers=True), body(), TRAILER), method)


@pytest.mark.http1("HTTP/1.0")
def test_promised_trailers_are_dropped_for_http_1_0(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            response = await client.response()
            assert (response.body, response.trailers) == (b"whole", [])

    serving(backend, app_of(start(trailers=True), body(b"whole"), TRAILER), scenario)


def test_early_hints_leave_at_once(backend: Backend) -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]})
        await go.wait()
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.request()
            hint = await client.head()
            assert hint.status == 103
            assert hint.fields == [(b"link", b"</a.css>; rel=preload"), (b"link", b"</b.js>; rel=preload")]
            go.set()
            assert (await client.response()).body == b"ok"
            assert [interim.status for interim in (await client.get()).interim] == [103]

    serving(backend, app, scenario)


def test_a_later_early_hint_does_not_wait_for_anything_else_to_happen(backend: Backend) -> None:
    sent: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        before = running.engine.stats()["bytes_sent"]
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        for _ in range(20):  # turns of the loop, in which no byte comes and no timer fires
            await asyncio.sleep(0)
        sent.append(running.engine.stats()["bytes_sent"] > before)
        await answer(send)

    running: InProcess
    go = asyncio.Event()

    async def scenario(server: InProcess) -> None:
        nonlocal running
        running = server
        async with server.connect() as client:
            await client.request()
            await wait_until(lambda: server.engine.active == 1)
            go.set()
            assert [interim.status for interim in (await client.response()).interim] == [103]

    serving(backend, app, scenario)
    assert sent == [True]


@pytest.mark.http1("HTTP/1.0")
def test_http_1_0_gets_no_early_hints(backend: Backend) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.response()).interim == []

    serving(backend, app_of(hint, start(), body(b"old")), scenario)
