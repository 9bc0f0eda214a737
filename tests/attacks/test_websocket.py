"""WebSocket under attack: sizes, compression bombs, floods, handshakes, races at the end. RFC 6455, RFC 7692."""

from __future__ import annotations

import contextlib
import os
import time

import pytest
from support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close,
    deflated,
    frame,
    handshake,
    open_websocket,
    read_frame,
    wait_for_close,
)
from support.kernel import cpu_seconds, descriptors, memory, wait_until
from support.raw import Connection

from attacks.target import Target, target

OPTIONS = ("--ws-max-size", "1MiB", "--ws-max-fragments", "1000", "--ws-close-timeout", "2", "--ws-max-queue", "8")
MIB = 1 << 20
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"


def fails_with(hostile: Target, data: bytes | list[bytes], code: int, *fields: str) -> None:
    """The connection is failed with this code, the application hears of one end, memory stays flat."""
    over, before = hostile.count("ws over"), memory(hostile.worker)
    with hostile.connect() as connection:
        open_websocket(connection, "/ws", *fields)
        connection.send_pieces([data] if isinstance(data, bytes) else data)
        assert wait_for_close(connection) == code
    hostile.wait_for_count("ws over", over + 1)
    assert memory(hostile.worker) - before < 6 * MIB
    assert hostile.is_serving()


class TestSize:
    def test_52_at_the_limit(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            open_websocket(connection)
            connection.send(frame(BINARY, b"x" * MIB))
            received = b""
            while True:
                found = read_frame(connection)
                received += found.payload
                if found.fin:
                    break
            assert len(received) == MIB

    def test_52_one_byte_more(self, hostile: Target) -> None:
        fails_with(hostile, frame(BINARY, b"x" * (MIB + 1)), 1009)

    @pytest.mark.parametrize("announced", [MIB + 1, 2**32, 2**62, 2**63 - 1])
    def test_52_announced_and_never_sent(self, hostile: Target, announced: int) -> None:
        """Refused by its head: nothing is waited for, nothing allocated."""
        fails_with(hostile, frame(BINARY, b"x", announced=announced, wide=8), 1009)

    def test_52_length_of_64_bits_with_the_high_bit(self, hostile: Target) -> None:
        fails_with(hostile, frame(BINARY, b"x", announced=2**63, wide=8), 1002)

    def test_52_in_fragments(self, hostile: Target) -> None:
        pieces = [frame(BINARY, b"x" * 65536, fin=False)]
        pieces += [frame(CONTINUATION, b"x" * 65536, fin=False)] * 40
        fails_with(hostile, pieces, 1009)

    def test_52_messages_that_the_application_does_not_take(self, hostile: Target) -> None:
        """They stay at the sender."""
        before = memory(hostile.worker)
        opened = hostile.count("ws open")
        connections = []
        with contextlib.ExitStack() as stack:
            for _ in range(10):
                connection: Connection = stack.enter_context(hostile.connect())
                open_websocket(connection, "/ws/deaf")
                connections.append(connection)
                connection.socket.settimeout(0)
                with contextlib.suppress(BlockingIOError):
                    for _ in range(300):
                        connection.socket.send(frame(BINARY, b"x" * 60_000))
            hostile.wait_for_count("ws open", opened + 10)
            assert memory(hostile.worker) - before < 10 * (1.5 * MIB) + 8 * MIB

    def test_52_answers_that_the_client_does_not_take(self, hostile: Target) -> None:
        """`send()` waits, so the application reads no further, so the client has to wait."""
        before = memory(hostile.worker)
        with hostile.connect(receive_buffer=8192) as connection:
            open_websocket(connection)
            connection.socket.settimeout(0)
            deadline = time.monotonic() + 1.0
            while time.monotonic() < deadline:
                try:
                    connection.socket.send(frame(BINARY, b"x" * 60_000))
                except BlockingIOError:
                    time.sleep(0.01)
            assert memory(hostile.worker) - before < 8 * MIB


class TestDeflate:
    def test_53_bomb(self, hostile: Target) -> None:
        """A kilobyte that inflates to a megabyte and more: stopped while inflating."""
        bomb = deflated(b"\0" * (300 * MIB))
        assert len(bomb) < MIB
        fails_with(hostile, frame(BINARY, bomb, rsv=4), 1009, DEFLATE)

    def test_53_bomb_in_fragments(self, hostile: Target) -> None:
        bomb = deflated(b"\0" * (60 * MIB))
        cuts = range(0, len(bomb), 1000)
        frames = [
            frame(BINARY if at == 0 else CONTINUATION, bomb[at : at + 1000], rsv=4 if at == 0 else 0, fin=False)
            for at in cuts
        ]
        fails_with(hostile, frames, 1009, DEFLATE)

    def test_53_ratio(self) -> None:
        """Below the size limit, and still nothing that honest text compresses to."""
        with target("--ws-max-size", "16MiB") as hostile:
            fails_with(hostile, frame(BINARY, deflated(b"\0" * (8 * MIB)), rsv=4), 1009, DEFLATE)

    def test_53_honest_compression(self, hostile: Target) -> None:
        text = b"".join(b"line %d of an honest text\n" % at for at in range(3000))
        with hostile.connect() as connection:
            open_websocket(connection, "/ws", DEFLATE)
            connection.send(frame(TEXT, deflated(text), rsv=4))
            assert read_frame(connection).opcode == TEXT

    def test_53_rsv1_on_a_continuation(self, hostile: Target) -> None:
        data = frame(TEXT, deflated(b"a"), rsv=4, fin=False) + frame(CONTINUATION, b"b", rsv=4)
        fails_with(hostile, data, 1002, DEFLATE)

    def test_53_rsv1_without_the_extension(self, hostile: Target) -> None:
        fails_with(hostile, frame(TEXT, deflated(b"a"), rsv=4), 1002)

    def test_53_not_deflate_at_all(self, hostile: Target) -> None:
        over = hostile.count("ws over")
        with hostile.connect() as connection:
            open_websocket(connection, "/ws", DEFLATE)
            connection.send(frame(BINARY, b"\xff" * 100, rsv=4))
            assert wait_for_close(connection) in (1002, 1007)
        hostile.wait_for_count("ws over", over + 1)

    @pytest.mark.parametrize(
        "offer",
        [
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=x",
            "permessage-deflate; client_max_window_bits=8; client_max_window_bits=9",
            "permessage-deflate; unknown",
            "x-unknown",
        ],
    )
    def test_53_offers_that_cannot_be_met_are_declined(self, hostile: Target, offer: str) -> None:
        with hostile.connect() as connection:
            response = open_websocket(connection, "/ws", f"Sec-WebSocket-Extensions: {offer}")
            assert response.get(b"sec-websocket-extensions") is None

    def test_53_context_takeover_costs_bounded_memory(self, hostile: Target) -> None:
        before = memory(hostile.worker)
        text = os.urandom(30_000)
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                connection: Connection = stack.enter_context(hostile.connect())
                open_websocket(connection, "/ws", "Sec-WebSocket-Extensions: permessage-deflate")
                connection.send(frame(BINARY, deflated(text), rsv=4))
                assert read_frame(connection).opcode == BINARY
            # A full window and hash tables each way are about 300 KiB; ten times the application's message is not.
            assert memory(hostile.worker) - before < 50 * 400 * 1024 + 4 * MIB


class TestFlood:
    def test_54_endless_empty_fragments(self, hostile: Target) -> None:
        data = frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 1_000_000
        fails_with(hostile, data, 1009)

    def test_54_ping_flood_whose_pongs_are_not_read(self, hostile: Target) -> None:
        """Only the last ping needs an answer; what waits to be sent is bounded."""
        before = memory(hostile.worker)
        with hostile.connect(receive_buffer=8192) as connection:
            open_websocket(connection)
            connection.socket.settimeout(0)
            flood = frame(PING, b"p" * 125) * 5000
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                try:
                    connection.socket.send(flood)
                except BlockingIOError:
                    time.sleep(0.01)
            assert memory(hostile.worker) - before < 8 * MIB
        assert hostile.is_serving()

    def test_54_pings_are_answered_between_fragments(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            open_websocket(connection)
            data = frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"b")
            connection.send_pieces([data[at : at + 1] for at in range(len(data))])
            assert (read_frame(connection).opcode, read_frame(connection).payload) == (PONG, b"ab")

    def test_54_unsolicited_pongs_are_ignored(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            open_websocket(connection)
            connection.send(frame(PONG, b"x" * 125) * 10_000 + frame(TEXT, b"after"))
            assert read_frame(connection).payload == b"after"


class TestFrames:
    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (frame(TEXT, b"a", masked=False), 1002),
            (frame(TEXT, b"a", rsv=1), 1002),
            (frame(TEXT, b"a", rsv=2), 1002),
            (frame(3, b"a"), 1002),
            (frame(11, b"a"), 1002),
            (frame(CONTINUATION, b"a"), 1002),
            (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
            (frame(PING, b"a", fin=False), 1002),
            (frame(PING, b"a" * 126), 1002),
            (frame(TEXT, b"a", wide=2), 1002),
            (frame(TEXT, b"a", wide=8), 1002),
            (frame(CLOSE, b"\x03"), 1002),
            (frame(TEXT, b"\xff"), 1007),
            (frame(TEXT, b"\xed\xa0\x80"), 1007),
            (frame(TEXT, b"\xf0\x9f", fin=False) + frame(CONTINUATION, b"\xff"), 1007),
            (close(1000, b"\xff"), 1007),
            *((close(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
        ],
    )
    def test_malformed(self, hostile: Target, data: bytes, code: int) -> None:
        fails_with(hostile, data, code)


class TestHandshake:
    def test_55_origin_reaches_the_application(self, hostile: Target) -> None:
        """Whose pages may connect is the application's decision."""
        hostile.seen()
        with hostile.connect() as connection:
            open_websocket(connection, "/ws", "Origin: https://evil.example")
        (record,) = hostile.seen()
        assert ["origin", "https://evil.example"] in record["headers"]

    @pytest.mark.parametrize(
        ("old", "new", "status"),
        [
            ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12", 426),
            ("Sec-WebSocket-Version: 13", "X: y", 426),
            ("dGhlIHNhbXBsZSBub25jZQ==", "", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "====================", 400),
            ("Host: a.example", "Host: a.example\r\nSec-WebSocket-Protocol: a, a", 400),
            ("Host: a.example", "Host: a.example\r\nSec-WebSocket-Protocol: a b", 400),
            ("Host: a.example", "Host: a.example\r\nSec-WebSocket-Extensions: ;", 400),
            ("Host: a.example", "Host: a.example\r\nX : y", 400),
            ("Host: a.example", "Host: a.example\r\nX: a\x0b\x0cb", 400),
        ],
    )
    def test_55_malformed(self, hostile: Target, old: str, new: str, status: int) -> None:
        hostile.seen()
        with hostile.connect() as connection:
            connection.send(handshake().replace(old.encode(), new.encode("latin-1")))
            response = connection.response()
            assert (response.status, response.closes) == (status, True), response
            if status == 426:
                assert response.get(b"sec-websocket-version") == b"13"
            connection.wait_closed()
        assert hostile.seen() == []

    def test_55_bytes_behind_the_handshake_are_frames(self, hostile: Target) -> None:
        with hostile.connect() as connection:
            connection.send(handshake() + frame(TEXT, b"early"))
            assert connection.response().status == 101
            assert read_frame(connection).payload == b"early"

    def test_55_requests_behind_a_denied_handshake_are_not_served(self, hostile: Target) -> None:
        hostile.seen()
        with hostile.connect() as connection:
            connection.send(handshake("/ws/deny") + b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n")
            assert connection.response().status == 403
            connection.wait_closed()
        assert [record["path"] for record in hostile.seen()] == ["/ws/deny"]

    @pytest.mark.parametrize("kind", ["inject-subprotocol", "inject-header"])
    def test_55_injection_by_the_application(self, hostile: Target, kind: str) -> None:
        hostile.server.expect_error("MessageError")
        with hostile.connect() as connection:
            connection.send(handshake(f"/ws/{kind}", "Sec-WebSocket-Protocol: a"))
            response = connection.response()
            assert response.status == 500
            assert not any(b"evil" in part for pair in response.fields for part in pair)
            connection.wait_closed()

    def test_11_line_separators_of_python_do_not_split_fields(self, hostile: Target) -> None:
        """The same reader as for HTTP: one field, whatever `str.splitlines` would make of it."""
        hostile.seen()
        value = "a\x85X-Evil: 1\x85X-Evil: 2"
        with hostile.connect() as connection:
            open_websocket(connection, "/ws", f"X: {value}")
        (record,) = hostile.seen()
        assert ["x", value] in record["headers"]
        assert "x-evil" not in dict(record["headers"])


class TestEnd:
    def ends(self, hostile: Target, code: int) -> int:
        return hostile.count(f"ws disconnect {code}")

    def test_56_close_without_a_code(self, hostile: Target) -> None:
        before = self.ends(hostile, 1005)
        with hostile.connect() as connection:
            open_websocket(connection)
            connection.send(frame(CLOSE))
            found = read_frame(connection)
            assert found.opcode == CLOSE
            assert found.code in (None, 1000)
            connection.wait_closed()
        assert self.ends(hostile, 1005) == before + 1

    def test_56_code_and_reason_are_echoed(self, hostile: Target) -> None:
        before = self.ends(hostile, 4321)
        with hostile.connect() as connection:
            open_websocket(connection)
            connection.send(close(4321, b"why"))
            assert read_frame(connection).code == 4321
            connection.wait_closed()
        assert self.ends(hostile, 4321) == before + 1

    @pytest.mark.parametrize("how", ["fin", "reset"])
    def test_56_peer_vanishes_in_a_message(self, hostile: Target, how: str) -> None:
        """One disconnect with 1006, no traceback, nothing left."""
        before, over = self.ends(hostile, 1006), hostile.count("ws over")
        fds = descriptors(hostile.worker)
        with hostile.connect() as connection:
            open_websocket(connection)
            connection.send(frame(TEXT, b"half of", fin=False) + frame(CONTINUATION, b"x" * 50, announced=100)[:-10])
            if how == "reset":
                connection.reset()
            else:
                connection.close()
            wait_until(lambda: self.ends(hostile, 1006) == before + 1, "one disconnect")
        assert hostile.count("ws over") == over + 1
        wait_until(lambda: descriptors(hostile.worker) <= fds, "the descriptor is back")

    def test_56_application_sends_after_the_end(self, hostile: Target) -> None:
        """It gets an OSError, which the log does not make a fuss about: `stop` looks for tracebacks."""
        over = hostile.count("ws over")
        with hostile.connect() as connection:
            open_websocket(connection, "/ws/late")
            connection.send(close(1000))
            assert read_frame(connection).code == 1000
            connection.wait_closed()
        hostile.wait_for_count("ws over", over + 1)

    def test_56_frames_behind_the_close_are_ignored(self, hostile: Target) -> None:
        messages = hostile.count("ws message")
        with hostile.connect() as connection:
            open_websocket(connection)
            connection.send(close(1000) + frame(TEXT, b"too late") * 100)
            assert read_frame(connection).code == 1000
            connection.wait_closed()
        assert hostile.count("ws message") == messages

    def test_56_close_that_is_never_answered(self, hostile: Target) -> None:
        """`ws_close_timeout`: the server has sent its close frame and does not wait for ever."""
        started = time.monotonic()
        with hostile.connect() as connection:
            open_websocket(connection)
            connection.send(frame(TEXT, b"\xff"))
            assert read_frame(connection).code == 1007
            with contextlib.suppress(ConnectionResetError):
                connection.wait_closed()
        assert time.monotonic() - started < 2 + 5

    def test_56_a_close_for_a_hundred_at_once(self, hostile: Target) -> None:
        over, fds = hostile.count("ws over"), descriptors(hostile.worker)
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                connection: Connection = stack.enter_context(hostile.connect())
                open_websocket(connection)
        hostile.wait_for_count("ws over", over + 100)
        wait_until(lambda: descriptors(hostile.worker) <= fds, "the descriptors are back")


def test_pings_and_the_missing_pong() -> None:
    """A peer that has vanished without a word is found."""
    with target("--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.3", "--ws-close-timeout", "0.3") as hostile:
        with hostile.connect() as connection:
            open_websocket(connection)
            ping = read_frame(connection)
            assert ping.opcode == PING
            connection.send(frame(PONG, ping.payload))
            assert read_frame(connection).opcode == PING
            while (found := read_frame(connection)).opcode == PING:
                pass
            assert (found.opcode, found.code) == (CLOSE, 1011)
            with contextlib.suppress(ConnectionResetError):
                connection.wait_closed()
        hostile.wait_for_count("ws over", 1)


def test_open_websockets_do_not_take_places_of_requests() -> None:
    with target("--limit-concurrency", "2", "--limit-queue", "0") as hostile, contextlib.ExitStack() as stack:
        for _ in range(10):
            open_websocket(stack.enter_context(hostile.connect()))
        assert hostile.is_serving()


def test_idle_websockets_cost_no_time() -> None:
    with target() as hostile, contextlib.ExitStack() as stack:
        for _ in range(50):
            open_websocket(stack.enter_context(hostile.connect()))
        before = cpu_seconds(hostile.worker)
        time.sleep(1.0)
        assert cpu_seconds(hostile.worker) - before < 0.1
