"""Handshakes that fail, stall, come in crowds or bit by bit; and ends of connections that are no ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl

import pytest
from support.apps import answer, read_body
from support.certificates import client_context
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving, wait_until

HTTP1 = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
BACKENDS = (Backend("tls", tls=True), Backend("tls-uvloop", loop="uvloop", tls=True))


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send)


async def leave(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
    for writer in writers:
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def stats(server: InProcess) -> dict[str, int]:
    return server.engine.stats()


class Peer:
    """A TLS client whose bytes go through the test's hands."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or client_context()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def hello(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    async def shake_hands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, step: int = 0) -> None:
        """With a `step`, so many bytes at a time are sent."""
        while True:
            try:
                self.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            waiting = self.outgoing.read()
            for at in range(0, len(waiting), step or len(waiting) or 1):
                writer.write(waiting[at : at + (step or len(waiting))])
                await writer.drain()
                await asyncio.sleep(0)
            if done:
                return
            self.incoming.write(await reader.read(65536))

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Plaintext, b"" at an announced end; raises `ssl.SSLError` at any other."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                piece = await reader.read(65536)
                if not piece:
                    self.incoming.write_eof()
                self.incoming.write(piece)


def test_a_handshake_in_single_bytes_is_made(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        peer = Peer()
        await peer.shake_hands(reader, writer, step=1)
        peer.tls.write(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        for byte in peer.outgoing.read():
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await peer.read(reader)).startswith(b"HTTP/1.1 200")
        assert await peer.read(reader) == b""
        await leave(writer)

    serving(backend, ok, scenario)


def test_records_of_one_byte_are_read(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        peer = Peer()
        await peer.shake_hands(reader, writer)
        for byte in b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n":
            peer.tls.write(bytes([byte]))
        writer.write(peer.outgoing.read())
        assert (await peer.read(reader)).startswith(b"HTTP/1.1 200")
        await leave(writer)

    serving(backend, ok, scenario)


@pytest.mark.parametrize(("alpn", "spoken"), [("h2", HTTP1), ("http/1.1", PREFACE)], ids=["h2", "http/1.1"])
def test_what_was_agreed_on_is_spoken(backend: Backend, alpn: str, spoken: bytes) -> None:
    """Whoever is let through by ALPN as one protocol must not be able to speak the other (RFC 7301 §3.2)."""
    heard = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal heard
        heard = True
        await answer(send)

    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.WARNING, "HTTP/2 connection closed" if alpn == "h2" else ": 505, ")
        context = client_context(alpn=(alpn,))
        reader, writer = await asyncio.open_connection(*server.address, ssl=context, server_hostname="localhost")
        writer.write(spoken)
        answered = await reader.read()
        assert b" 200 " not in answered
        assert alpn == "h2" or answered.startswith(b"HTTP/1.1 505 ")
        await leave(writer)
        await server.wait_idle()

    serving(backend, app, scenario)
    assert not heard


def test_nobody_negotiates_again(backend: Backend) -> None:
    """CVE-2009-3555 and floods of renegotiations: TLS 1.2 without them (RFC 5746 §4.5 lets a server refuse)."""

    async def scenario(server: InProcess) -> None:
        port = str(server.address[1])
        command = ("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2")
        pipe = asyncio.subprocess.PIPE
        openssl = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await openssl.communicate(b"R\n")
        assert b"RENEGOTIATING" in said
        assert b"no renegotiation" in said
        async with server.connect() as client:
            assert (await client.get()).status == 200

    serving(backend, ok, scenario)


@pytest.mark.parametrize("begun", [False, True], ids=["silent", "begun"])
def test_a_stalled_handshake_is_ended_in_time(backend: Backend, begun: bool) -> None:
    async def scenario(server: InProcess) -> None:
        beginning = Peer().hello()[:50]  # made before the time runs
        reader, writer = await asyncio.open_connection(*server.address)
        if begun:
            writer.write(beginning)
        assert await reader.read() == b""
        await leave(writer)
        assert stats(server)["handshakes_timed_out"] == 1

    serving(backend, ok, scenario, timeout_handshake=0.3)


def test_a_handshake_that_has_begun_is_served_although_the_server_ends(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        peer = Peer()
        hello = peer.hello()
        writer.write(hello[:50])
        async with server.connect() as idle:
            assert (await idle.get()).status == 200
            server.server.should_exit = True
            assert await idle.rest() == b""  # the end has begun
        writer.write(hello[50:])
        await peer.shake_hands(reader, writer)
        peer.tls.write(HTTP1)
        writer.write(peer.outgoing.read())
        said = await peer.read(reader)
        assert said.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in said
        await leave(writer)

    serving(backend, ok, scenario)


def test_who_goes_away_in_the_middle_is_counted(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(Peer().hello())
        await reader.read(1)
        await leave(writer)
        await wait_until(lambda: stats(server)["handshakes_aborted"] == 1)

    serving(backend, ok, scenario)


def test_a_client_that_does_not_trust_us_is_counted_and_told(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.INFO, "no TLS connection: received fatal alert")
        for _ in range(5):
            reader, writer = await asyncio.open_connection(*server.address)
            peer = Peer(ssl.create_default_context())
            with pytest.raises(ssl.SSLCertVerificationError):
                await peer.shake_hands(reader, writer)
            writer.write(peer.outgoing.read())
            assert await reader.read() == b""
            await leave(writer)
        await wait_until(lambda: stats(server)["handshakes_refused_by_client"] == 5)
        lines = [record.getMessage() for record in server.log.records if "no TLS connection" in record.getMessage()]
        assert len(lines) == 1

    serving(backend, ok, scenario)


def test_nothing_in_common_is_refused_with_an_alert(backend: Backend) -> None:
    async def refused(server: InProcess, context: ssl.SSLContext, pattern: str) -> None:
        with pytest.raises(ssl.SSLError, match=pattern):
            await asyncio.open_connection(*server.address, ssl=context, server_hostname="localhost")

    async def scenario(server: InProcess) -> None:
        await refused(server, client_context(alpn=("spdy/3",)), "NO_APPLICATION_PROTOCOL|no application protocol")
        old = client_context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        await refused(server, old, "PROTOCOL_VERSION|protocol version")
        assert stats(server)["handshakes_incompatible"] == 2

    serving(backend, ok, scenario, ssl_min_version="1.3")


def test_the_modern_profile_has_tls_1_3_alone(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        old = client_context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            await asyncio.open_connection(*server.address, ssl=old, server_hostname="localhost")
        async with server.connect() as client:
            assert (await client.get()).status == 200

    serving(backend, ok, scenario, ssl_profile="modern")


def test_a_body_that_ends_without_close_notify_is_cut_off_for_the_application(backend: Backend) -> None:
    """Truncation: whoever can end the TCP connection must not be able to end the message (RFC 8446 §6.1)."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        seen.append(message["type"])

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.send(b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf")
            await wait_until(lambda: server.engine.active == 1)
            client.end()
            await wait_until(lambda: bool(seen))
        assert seen == ["http.disconnect"]

    serving(backend, app, scenario)


def test_a_crowd_of_handshakes_does_not_hold_up_the_others(backend: Backend) -> None:
    """While 400 handshakes wait, a request on an open connection is answered between them, not behind them."""
    count = 400

    async def scenario(server: InProcess) -> None:
        def sent() -> int:
            return stats(server)["bytes_sent"]

        async with server.connect() as client, contextlib.AsyncExitStack() as ends:
            await client.get()
            context = client_context()
            crowd = [await asyncio.open_connection(*server.address) for _ in range(1 + count)]
            ends.push_async_callback(leave, *(writer for _, writer in crowd))
            await wait_until(lambda: server.engine.connections == 1 + len(crowd))
            before = sent()
            reader, writer = crowd.pop()
            writer.write(Peer(context).hello())
            await reader.read(1)
            flight = sent() - before  # the server's part of a handshake, but for a few bytes of the signature
            before = sent()
            for _, writer in crowd:
                writer.write(Peer(context).hello())
            # The server has had no turn yet: all of it waits in sockets.
            await client.request()
            assert (await client.response()).status == 200
            assert sent() - before < flight * count / 2, "a good part of the handshakes came first"
            # Nothing else wakes the server: where one turn has to stop, the next goes on.
            for _ in range(2 * count):
                await asyncio.sleep(0)
            assert sent() - before > flight * (count - 1)

    serving(backend, ok, scenario)


def test_a_large_body_each_way(backend: Backend) -> None:
    size = 3_000_000

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, await read_body(receive))

    async def scenario(server: InProcess) -> None:
        data = bytes(range(256)) * (size // 256)
        async with server.connect() as client:
            for _ in range(3):
                assert (await client.get(method="POST", body=data)).body == data

    serving(backend, echo, scenario)


def test_strict_transport_security_is_said_over_tls(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            response = await client.get()
            assert response.field(b"strict-transport-security") == b"max-age=31536000; includeSubDomains"

    serving(backend, ok, scenario, hsts="365d", hsts_subdomains=True)


@pytest.mark.parametrize("step", [0, 1], ids=["at once", "bytewise"])
def test_the_proxy_protocol_comes_before_the_handshake(backend: Backend, step: int) -> None:
    async def who(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, f"{scope['client'][0]} {scope['scheme']}".encode())

    async def scenario(server: InProcess) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        peer = Peer()
        first = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n" + peer.hello()
        for at in range(0, len(first), step or len(first)):
            writer.write(first[at : at + (step or len(first))])
            await writer.drain()
            await asyncio.sleep(0)
        peer.incoming.write(await reader.read(65536))
        await peer.shake_hands(reader, writer)
        peer.tls.write(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        writer.write(peer.outgoing.read())
        assert (await peer.read(reader)).endswith(b"192.0.2.7 https")
        await leave(writer)

    serving(backend, who, scenario, proxy_protocol_from="127.0.0.1")


def test_who_leaves_the_proxy_protocol_out_is_not_heard(backend: Backend) -> None:
    async def scenario(server: InProcess) -> None:
        server.log.expect(logging.WARNING, "PROXY")
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(Peer().hello())
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        await leave(writer)

    serving(backend, ok, scenario, proxy_protocol_from="127.0.0.1")
