"""The opening handshake and its refusals. RFC 6455 §4, RFC 7692 §5, ASGI WebSocket: scope, connect, accept, denial."""

import asyncio
import logging
import socket

import pytest
from support.client import Fields
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving

from websocket.applications import Application, Socket, disconnect, echo
from websocket.peer import KEY, Op, close_data, encode, opened, peer, upgrade


async def never(_: Socket) -> None:
    raise AssertionError("the application must not be called")


def test_scope(backend: Backend) -> None:
    app = Application(echo)

    async def scenario(server: InProcess) -> None:
        async with opened(
            server, "/ro%20om/%C3%A9?a=1&b=%20", (b"sec-websocket-protocol", b"chat, superchat"), (b"cookie", b"a=b")
        ) as client:
            await client.close()
            assert await client.closed() == (1000, "")

    serving(backend, app, scenario)
    (scope,) = app.scopes
    assert {
        key: scope[key]
        for key in ("type", "asgi", "http_version", "scheme", "path", "raw_path", "query_string", "root_path")
    } == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "2" if backend.http2 else "1.1",
        "scheme": "wss" if backend.tls else "ws",
        "path": "/ro om/é",
        "raw_path": b"/ro%20om/%C3%A9",
        "query_string": b"a=1&b=%20",
        "root_path": "",
    }
    assert scope["subprotocols"] == ["chat", "superchat"]
    extensions = dict(scope["extensions"])
    assert ("tls" in extensions) == backend.tls
    extensions.pop("tls", None)
    assert extensions == {"websocket.http.response": {}}
    assert (b"cookie", b"a=b") in scope["headers"]
    assert ((b"sec-websocket-key", KEY) in scope["headers"]) != backend.http2  # RFC 8441 §5
    if backend.family != socket.AF_UNIX:
        assert isinstance(scope["client"][1], int)
        assert isinstance(scope["server"][1], int)
    assert "method" not in scope


def test_accept_with_subprotocol_and_headers(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.accept(subprotocol="superchat", headers=[(b"set-cookie", b"a=1"), [b"x-room", b"tea"]])
        assert await socket.next() is None

    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            head = await client.handshake("/", (b"sec-websocket-protocol", b"chat, superchat"))
            assert head.field(b"sec-websocket-protocol") == b"superchat"
            assert head.field(b"set-cookie") == b"a=1"
            assert head.field(b"x-room") == b"tea"
            assert head.field(b"sec-websocket-extensions") is None
            assert head.field(b"date")
            await client.close()
            await client.closed()

    serving(backend, Application(handler), scenario)


OFFERS: dict[bytes, bytes | None] = {
    b"permessage-deflate": b"permessage-deflate",
    b"permessage-deflate; client_max_window_bits": b"permessage-deflate",
    b"permessage-deflate; server_no_context_takeover": b"permessage-deflate; server_no_context_takeover",
    b"permessage-deflate; client_no_context_takeover": b"permessage-deflate; client_no_context_takeover",
    b"permessage-deflate; server_max_window_bits=10": b"permessage-deflate; server_max_window_bits=10",
    b"permessage-deflate; unheard_of, permessage-deflate": b"permessage-deflate",
    b"permessage-deflate; unheard_of": None,
    b"x-webkit-deflate-frame": None,
}


@pytest.mark.parametrize("offer", OFFERS)
def test_compression_offers(backend: Backend, offer: bytes) -> None:
    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            head = await client.handshake("/", (b"sec-websocket-extensions", offer))
            answer = head.field(b"sec-websocket-extensions")
            wanted = OFFERS[offer]
            if wanted is None:
                assert answer is None
            else:
                assert answer is not None
                assert answer.split(b"; ")[0] == b"permessage-deflate"
                assert set(wanted.split(b"; ")) <= set(answer.split(b"; "))
            await client.text("x" * 500)
            frame = await client.frame()
            assert frame.compressed == (wanted is not None)
            await client.close()
            await client.closed()

    serving(backend, Application(echo), scenario)


def test_compression_switched_off(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            head = await client.handshake("/", (b"sec-websocket-extensions", b"permessage-deflate"))
            assert head.field(b"sec-websocket-extensions") is None
            await client.close()
            await client.closed()

    serving(backend, Application(echo), scenario, ws_per_message_deflate=False)


def test_frames_that_come_with_the_handshake(backend: Backend) -> None:
    """RFC 6455 §4.1 has the client wait for the answer; one that does not loses nothing."""

    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            await client.offer(behind=encode(Op.TEXT, b"early") + encode(Op.BINARY, b"bird"))
            await client.accepted()
            assert await client.message() == "early"
            assert await client.message() == b"bird"
            await client.close()
            assert await client.closed() == (1000, "")
            await client.ended()

    serving(backend, Application(echo), scenario)


def test_a_close_that_comes_with_the_handshake(backend: Backend) -> None:
    """What came before the close is delivered, then the close; it is answered at once (RFC 6455 §5.5.1)."""

    async def handler(socket: Socket) -> None:
        await socket.accept()
        app.note([await socket.receive() for _ in range(2)])

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            await client.offer(behind=encode(Op.TEXT, b"bye") + encode(Op.CLOSE, close_data(3001, b"done")))
            await client.accepted()
            assert await client.closed() == (3001, "")
            await client.ended()
        assert await app.noted() == [{"type": "websocket.receive", "text": "bye"}, disconnect(3001, "done")]

    serving(backend, app, scenario)


@pytest.mark.parametrize("step", [1, 7])
def test_handshake_in_pieces(backend: Backend, step: int) -> None:
    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            client.connection.step = step
            await client.offer(behind=encode(Op.TEXT, b"in pieces"))
            await client.accepted()
            assert await client.message() == "in pieces"
            await client.close()
            await client.closed()

    serving(backend, Application(echo), scenario)


VERSION, KEYS, PROTOCOL = b"sec-websocket-version", b"sec-websocket-key", b"sec-websocket-protocol"
#: What is wrong → (fields, fields that are missing, status, rule).
REFUSED: dict[str, tuple[Fields, tuple[bytes, ...], int, str]] = {
    "old version": ([(VERSION, b"8")], (), 426, ""),
    "no version": ([], (VERSION,), 426, ""),
    "two versions": ([(VERSION, b"13"), (VERSION, b"13")], (), 426, ""),
    "subprotocol that is no token": ([(PROTOCOL, b"a b")], (), 400, "RFC 6455"),
    "subprotocol twice": ([(PROTOCOL, b"a, a")], (), 400, "RFC 6455"),
    "extension without a name": ([(b"sec-websocket-extensions", b"; a=1")], (), 400, "RFC"),
}
REFUSED_UPGRADES: dict[str, tuple[Fields, tuple[bytes, ...], int, str]] = {
    "no key": ([], (KEYS,), 400, "RFC 6455"),
    "short key": ([(KEYS, b"c2hvcnQ=")], (), 400, "RFC 6455"),
    "two keys": ([(KEYS, KEY), (KEYS, KEY)], (), 400, "RFC 6455"),
    "key of other characters": ([(KEYS, b"!" * 22 + b"==")], (), 400, "RFC 6455"),
    "no host": ([], (b"host",), 400, "RFC 9112"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_handshake(backend: Backend, name: str) -> None:
    """Refused before the application hears of it, RFC 6455 §4.2.1, §4.4."""
    refused(backend, *REFUSED[name])


@pytest.mark.http1("upgrade")
@pytest.mark.parametrize("name", REFUSED_UPGRADES)
def test_bad_upgrade(backend: Backend, name: str) -> None:
    refused(backend, *REFUSED_UPGRADES[name])


def refused(backend: Backend, fields: Fields, without: tuple[bytes, ...], status: int, rule: str) -> None:
    async def scenario(server: InProcess) -> None:
        if status == 400:
            server.log.expect(logging.WARNING, rf"400, .*\({rule}")
        async with peer(server) as client:
            await client.offer("/", *fields, without=without)
            response = await client.refused(status)
            assert response.field(VERSION) == (b"13" if status == 426 else None)

    serving(backend, Application(never), scenario)


ORDINARY = {
    "POST": upgrade("/", (b"content-length", b"0"), method=b"POST"),
    "no Connection": upgrade("/", without=(b"connection",)),
    "Connection without upgrade": upgrade("/", (b"connection", b"keep-alive")),
    "no Upgrade": upgrade("/", without=(b"upgrade",)),
    "another protocol": upgrade("/", (b"upgrade", b"tea/1")),
    "HTTP/1.0": upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"),
}


@pytest.mark.http1("upgrade")
@pytest.mark.parametrize("name", ORDINARY)
def test_no_websocket_handshake_is_an_ordinary_request(backend: Backend, name: str) -> None:
    """RFC 9110 §7.8: a server may ignore an upgrade that it cannot make."""

    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            await client.write(ORDINARY[name])
            response = await client.connection.response()
            assert (response.status, response.body) == (200, b"http")

    serving(backend, Application(never), scenario)


@pytest.mark.http1("upgrade")
def test_mixed_case_and_lists_in_the_handshake(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        async with opened(server, "/", (b"connection", b"keep-alive, UPGRADE"), (b"upgrade", b"WebSocket")) as client:
            await client.text("hello")
            assert await client.message() == "hello"
            await client.close()
            await client.closed()

    serving(backend, Application(echo), scenario)


def test_after_an_ordinary_request_on_the_same_connection(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            assert (await client.connection.get("/")).body == b"http"
            await client.handshake()
            await client.text("again")
            assert await client.message() == "again"
            await client.close()
            await client.closed()

    serving(backend, Application(echo), scenario)


def test_close_before_accept_is_403(backend: Backend) -> None:
    """ASGI WebSocket, "Close": before the handshake is answered the server responds 403."""

    async def handler(socket: Socket) -> None:
        await socket.receive()
        await socket.close(1008, "not for you")
        app.note(await socket.receive())

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            await client.offer()
            assert b"not for you" not in (await client.refused(403)).body
        assert await app.noted() == disconnect(1006)

    serving(backend, app, scenario)


@pytest.mark.parametrize("pieces", [1, 3])
def test_denial_response(backend: Backend, pieces: int) -> None:
    """Extension websocket.http.response: the application answers the handshake with a response of its own."""

    async def handler(socket: Socket) -> None:
        await socket.receive()
        await socket.send(
            {
                "type": "websocket.http.response.start",
                "status": 401,
                "headers": [(b"www-authenticate", b"Basic"), (b"x-a", b"b")],
            }
        )
        for piece in range(pieces):
            await socket.send(
                {"type": "websocket.http.response.body", "body": b"log in\n", "more_body": piece < pieces - 1}
            )

    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            await client.offer()
            response = await client.refused(401)
            assert response.body == b"log in\n" * pieces
            assert response.field(b"www-authenticate") == b"Basic"
            assert response.field(b"x-a") == b"b"
            assert response.streamed == (pieces > 1)

    serving(backend, Application(handler), scenario)


def test_denial_that_is_not_finished_is_cut(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.receive()
        await socket.send({"type": "websocket.http.response.start", "status": 429, "headers": []})
        await socket.send({"type": "websocket.http.response.body", "body": b"wait", "more_body": True})

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.ERROR, "before the end of the response body")
        async with peer(server) as client:
            await client.offer()
            response = await client.connection.cut()
            assert (response.status, response.body) == (429, b"wait")

    serving(backend, Application(handler), scenario)


def test_frames_sent_to_a_denied_handshake_are_dropped(backend: Backend) -> None:
    async def handler(socket: Socket) -> None:
        await socket.receive()
        await socket.close()

    async def scenario(server: InProcess) -> None:
        async with peer(server) as client:
            await client.offer(behind=encode(Op.TEXT, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", mask=False))
            await client.refused(403)

    serving(backend, Application(handler), scenario)


def test_handshake_that_the_application_does_not_answer_in_time(backend: Backend) -> None:
    """--timeout-request holds for the handshake."""

    async def handler(socket: Socket) -> None:
        try:
            await socket.receive()
            await socket.receive()
        finally:
            app.note("ended")

    app = Application(handler)

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.ERROR, "504, the application did not answer in time")
        server.log.expect(logging.ERROR, "the application was cancelled")
        async with peer(server) as client:
            await client.offer()
            await client.refused(504)
        assert await app.noted() == "ended"

    serving(backend, app, scenario, timeout_request=0.2)


def test_an_open_websocket_is_not_bound_by_the_request_timeout(backend: Backend) -> None:
    app = Application(echo)

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.Event().wait()
        await app(scope, receive, send)

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.ERROR, "504, the application did not answer in time")
        async with opened(server) as quiet, peer(server) as hanging:
            # A request that starts later runs into its time-out: the WebSocket has outlived the same time.
            assert (await hanging.connection.get("/hang")).status == 504
            await quiet.text("still here")
            assert await quiet.message() == "still here"
            await quiet.close()
            await quiet.closed()

    serving(backend, hang, scenario, timeout_request=0.2)
