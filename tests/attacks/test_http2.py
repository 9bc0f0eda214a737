"""Attacks on HTTP/2: each ends with the right code, and nobody else notices. RFC 9113 §10.5.

Rapid reset (CVE-2023-44487) and its twin (CVE-2025-8671), CONTINUATION floods (VU#421644), HPACK bombs (CVE-2016-6581),
floods of frames that carry nothing (CVE-2019-9512, -9513, -9515, -9518), stalled windows (CVE-2019-9517), slow bodies.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from support.http2 import ErrorCodes, Http2, http2
from support.kernel import memory, wait_until

from attacks.target import Target

OPTIONS = (
    "--h2-max-streams", "50", "--h2-max-resets", "100", "--h2-max-overhead", "500", "--timeout-write", "1",
    "--body-rate-grace", "1", "--timeout-header", "1", "--limit-head-size", "20000",
)  # fmt: skip
MIB = 1 << 20
#: The longest that a request of somebody else may take beside an attack, in seconds. It takes a millisecond; the rest
#: is for machines that are slow and busy.
NOTICED = 2.0


@pytest.fixture(autouse=True)
def _record(hostile: Target, request: pytest.FixtureRequest) -> None:
    """`pytest --junitxml` is told how long somebody else's requests took. (Its own fixture for that warns.)"""
    hostile.record = lambda name, value: request.node.user_properties.append((name, value))


@contextmanager
def others_do_not_notice(hostile: Target) -> Iterator[None]:
    """Somebody else asks all the time, and is answered at once."""
    over = threading.Event()
    took: list[float] = []
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            with http2(hostile.address) as connection:
                while not over.is_set():
                    begin = time.monotonic()
                    assert connection.get("/odd/body-bytes").body == b"12345"
                    took.append(time.monotonic() - begin)
                    over.wait(0.001)
        except BaseException as error:
            failures.append(error)

    before = memory(hostile.worker)
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        wait_until(lambda: bool(took or failures), "somebody else")
        yield
        answered = len(took)
        wait_until(lambda: len(took) > answered or bool(failures), "an answer for somebody else")
    finally:
        over.set()
        asking.join(30)
    assert not asking.is_alive()
    assert not failures, failures
    hostile.record("others", len(took))
    hostile.record("others_median_ms", round(statistics.median(took) * 1000, 2))
    hostile.record("others_slowest_ms", round(max(took) * 1000, 2))
    assert max(took) < NOTICED
    assert memory(hostile.worker) - before < 16 * MIB


def ended_with(hostile: Target, connection: Http2, code: ErrorCodes, reason: str, mark: int) -> None:
    assert connection.wait_closed() == code
    hostile.server.wait_for_log(f"HTTP/2 connection closed, .*{reason}", since=mark)


def flood(connection: Http2, frames: list[Frame], most: int) -> None:
    """Sends the frames again and again until the server has had enough."""
    data = b"".join(frame.serialize() for frame in frames)
    for _ in range(most):
        connection.look()
        if connection.refused:
            return
        connection.raw(data)


def test_rapid_reset(hostile: Target) -> None:
    """CVE-2023-44487: what was reset is never started by the hundreds, and the connection ends."""
    mark = hostile.server.mark()
    held = hostile.count("holding")
    with others_do_not_notice(hostile), http2(hostile.address) as connection:
        connection.settled()
        for _ in range(10_000):
            stream = connection.begin("/hold/rapid")
            connection.h2.reset_stream(stream)
            connection.flush()
            connection.look()
            if connection.refused:
                break
        ended_with(hostile, connection, ErrorCodes.ENHANCE_YOUR_CALM, "resets too many streams", mark)
    assert hostile.count("holding") - held <= 100
    wait_until(lambda: hostile.count("held") == hostile.count("holding"), "the end of what was started")


def test_resets_that_leave_applications_running(hostile: Target) -> None:
    """Applications that take no notice count, although their streams are over."""
    begun = hostile.count("forever")
    refused = 0
    with http2(hostile.address) as connection:
        connection.settled()
        for _ in range(60):
            streams = [connection.begin("/forever/running") for _ in range(2)]
            connection.settled()
            refused += sum(connection.streams[stream].reset == ErrorCodes.REFUSED_STREAM for stream in streams)
            for stream in streams:
                if not connection.streams[stream].over:
                    connection.reset(stream)
        assert refused > 0
    assert hostile.count("forever") - begun <= 100
    hostile.release("running")


class NoIncrement(WindowUpdateFrame):
    """RFC 9113 §6.9: an error of the stream."""

    def serialize_body(self) -> bytes:
        return bytes(4)


@pytest.mark.parametrize(
    "provoke",
    [
        lambda stream: [WindowUpdateFrame(stream, window_increment=(1 << 31) - 1)],
        lambda stream: [NoIncrement(stream)],
        lambda stream: [PriorityFrame(stream, depends_on=stream)],
        lambda stream: [DataFrame(stream, b"after the end")],
    ],
    ids=["window overflow", "window of nothing more", "own dependency", "data after the end"],
)
def test_resets_that_the_server_is_made_to_send(hostile: Target, provoke: object) -> None:
    """CVE-2025-8671: what a client makes the server reset is bounded like what it resets itself."""
    held = hostile.count("holding")
    with others_do_not_notice(hostile), http2(hostile.address) as connection:
        connection.settled()
        for _ in range(3000):
            stream = connection.h2.get_next_available_stream_id()
            connection.begin("/hold/provoked")
            connection.frames(*provoke(stream))  # type: ignore[operator]
            connection.settled_or_refused()
            if connection.refused:
                break
            if not connection.streams[stream].over:
                assert len([1 for stream in connection.streams.values() if not stream.over]) <= 50
                break
    assert hostile.count("holding") - held <= 1100
    wait_until(lambda: hostile.count("held") == hostile.count("holding"), "the end of what was started")


def head(connection: Http2, path: str = "/", *fields: tuple[str, str]) -> bytes:
    pseudo = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")]
    encoded: bytes = connection.h2.encoder.encode([*pseudo, *fields])
    return encoded


@pytest.mark.parametrize("piece", [b"", b"\x00", b"\x00\x01a\x01b" * 100], ids=["empty", "a byte", "fields"])
def test_continuation_flood(hostile: Target, piece: bytes) -> None:
    """VU#421644 and CVE-2026-33871: a header section has an end, and few pieces."""
    mark = hostile.server.mark()
    with others_do_not_notice(hostile), http2(hostile.address) as connection:
        connection.settled()
        connection.frames(HeadersFrame(1, head(connection), flags=["END_STREAM"]))
        flood(connection, [ContinuationFrame(1, piece)], 100_000)
        reason = "(detected excessive load|a header section comes in)"
        ended_with(hostile, connection, ErrorCodes.ENHANCE_YOUR_CALM, reason, mark)


def test_a_header_section_without_end_is_waited_for_in_vain(hostile: Target) -> None:
    with http2(hostile.address) as connection:
        connection.settled()
        connection.frames(HeadersFrame(1, head(connection), flags=["END_STREAM"]))
        assert connection.wait_closed() == ErrorCodes.ENHANCE_YOUR_CALM


def test_hpack_bomb(hostile: Target) -> None:
    """CVE-2016-6581: a few bytes that stand for megabytes are refused by what they stand for."""
    with others_do_not_notice(hostile), http2(hostile.address) as connection:
        connection.settled()
        big = ("x-bomb", "b" * 3900)
        connection.begin("/", fields=[big])
        assert connection.get("/", fields=[big] * 10).status == 431
        connection.begin("/", fields=[big] * 4000)
        assert connection.wait_closed() == ErrorCodes.ENHANCE_YOUR_CALM
    assert hostile.is_serving()


def test_a_table_that_changes_its_size_all_the_time(hostile: Target) -> None:
    """RFC 7541 §6.3: six thousand changes in each section, as many as a frame holds, cost nobody else anything."""
    with others_do_not_notice(hostile), http2(hostile.address) as connection:
        connection.settled()
        encoder = connection.h2.encoder
        encode = encoder.encode

        def changing(fields: Any, huffman: bool = True) -> bytes:
            encoder.header_table_size = 0
            encoder.header_table_size = 4096
            return b"\x20\x3f\xe1\x1f" * 3000 + encode(fields, huffman)

        encoder.encode = changing  # type: ignore[method-assign, assignment]
        for _ in range(100):
            assert connection.get("/odd/body-bytes", fields=[("x-fill", "y" * 2000)]).body == b"12345"


def test_a_header_list_that_is_much_too_large(hostile: Target) -> None:
    with others_do_not_notice(hostile), http2(hostile.address) as connection:
        connection.settled()
        fields = [(f"x-{n}", "y" * 300) for n in range(90)]
        assert connection.get("/", fields=fields).status == 431
        assert connection.get("/").status == 200


FLOODS = {
    "ping": [PingFrame(0, b"12345678")],
    "settings": [SettingsFrame(0, settings={3: 100})],
    "empty settings": [SettingsFrame(0)],
    "priority": [PriorityFrame(1, depends_on=0, stream_weight=1)],
    "window update": [WindowUpdateFrame(0, window_increment=1)],
    "unknown": [b""],
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood_of_frames_that_carry_nothing(hostile: Target, name: str) -> None:
    """CVE-2019-9512, CVE-2019-9515 and their like."""
    mark = hostile.server.mark()
    with others_do_not_notice(hostile), http2(hostile.address) as connection:
        connection.settled()
        if name == "unknown":
            for _ in range(200):
                connection.look()
                if not connection.refused:
                    connection.raw(bytes.fromhex("000000ee0000000000") * 100)
        else:
            flood(connection, FLOODS[name] * 100, 200)  # type: ignore[operator,arg-type]
        ended_with(hostile, connection, ErrorCodes.ENHANCE_YOUR_CALM, "frames that carry nothing", mark)


def test_flood_of_empty_data(hostile: Target) -> None:
    """CVE-2019-9518"""
    mark = hostile.server.mark()
    with others_do_not_notice(hostile), http2(hostile.address) as connection:
        connection.settled()
        stream = connection.begin("/", "POST", end=False)
        flood(connection, [DataFrame(stream, b"")] * 100, 200)
        connection.wait_closed()
        assert connection.goaway == ErrorCodes.ENHANCE_YOUR_CALM
    hostile.server.wait_for_log("HTTP/2 connection closed", since=mark)


def test_answers_that_nobody_reads(hostile: Target) -> None:
    """CVE-2019-9512, -9513, -9515: answers do not pile up for a client that does not read them."""
    with others_do_not_notice(hostile), http2(hostile.address, receive_buffer=4096) as connection:
        ping = PingFrame(0, b"12345678").serialize() * 50
        connection.sock.settimeout(2)
        try:
            for _ in range(2000):
                connection.sock.sendall(ping)
        except (OSError, TimeoutError):
            pass


def test_too_many_streams_at_once(hostile: Target) -> None:
    with others_do_not_notice(hostile), http2(hostile.address) as connection:
        connection.settled()
        assert connection.settings[3] == 50
        connection.h2.remote_settings[3] = 1000
        connection.h2.remote_settings.acknowledge()
        streams = [connection.begin("/hold/many") for _ in range(60)]
        connection.settled()
        refused = [stream for stream in streams if connection.streams[stream].reset == ErrorCodes.REFUSED_STREAM]
        assert refused == streams[50:]
        hostile.release("many")
        for stream in streams[:50]:
            assert connection.response(stream).body == b"released"


def test_a_window_that_stays_shut(hostile: Target) -> None:
    """CVE-2019-9517: a response that nobody takes ends its stream, not the connection."""
    over = hostile.count("stream over")
    with others_do_not_notice(hostile), http2(hostile.address, window=0) as connection:
        streams = [connection.begin("/stream/1000") for _ in range(20)]
        for stream in streams:
            assert connection.response(stream).reset == ErrorCodes.ENHANCE_YOUR_CALM
        assert connection.get("/odd/204-body").status == 204
    wait_until(lambda: hostile.count("stream over") == over + 20, "the applications' end")


def test_a_window_of_one_byte_at_a_time(hostile: Target) -> None:
    """Progress of a byte a second is progress; a client that stops is cut off."""
    with http2(hostile.address, window=1) as connection:
        connection.take = False
        stream = connection.begin("/large/100000")
        for _ in range(30):
            connection.h2.increment_flow_control_window(1, stream)
            connection.flush()
        assert connection.response(stream).reset == ErrorCodes.ENHANCE_YOUR_CALM
        assert 1 <= len(connection.streams[stream].body) <= 31


def test_a_body_that_trickles(hostile: Target) -> None:
    """R-U-Dead-Yet, a stream at a time."""
    with others_do_not_notice(hostile), http2(hostile.address) as connection:
        streams = [connection.begin("/", "POST", end=False) for _ in range(20)]
        for stream in streams:
            connection.send(stream, b"a")
        for stream in streams:
            assert connection.response(stream).status == 408
        assert connection.get("/odd/body-bytes").body == b"12345"


def test_a_body_in_tiny_frames(hostile: Target) -> None:
    """A byte a frame costs more than it brings; it is taken or refused, and nothing piles up."""
    with others_do_not_notice(hostile), http2(hostile.address) as connection:
        stream = connection.begin("/forever/dribble", "POST", end=False)
        flood(connection, [DataFrame(stream, b"d")] * 500, 100)
        connection.settled_or_refused()
    hostile.release("dribble")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-a", "1\r\nx-evil: 1"),
        ("x-a", "1\nx-evil: 1"),
        ("x-a", "1\x00"),
        ("X-Upper", "1"),
        ("x a", "1"),
        ("", "1"),
        ("connection", "close"),
        ("keep-alive", "1"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        (":evil", "1"),
        (":path", "/other"),
        (":path", ""),
        (":path", "/lie now"),
        (":path", "lie"),
        (":method", "GE T"),
        (":scheme", ""),
        (":authority", "a\r\nx: y"),
    ],
)
def test_what_would_be_a_lie_in_http_1(hostile: Target, name: str, value: str) -> None:
    """CVE-2025-57804 and the downgrade attacks: none of it reaches the application. RFC 9113 §8.2, §8.3."""
    hostile.seen()
    with http2(hostile.address) as connection:
        connection.settled()
        pseudo = {":method": "GET", ":scheme": "http", ":path": "/lie", ":authority": "a"}
        fields = [*pseudo.items(), (name, value)]
        if name in pseudo and value != "/other":
            fields = [*(pseudo | {name: value}).items()]
        stream = connection.begin_with(fields)
        response = connection.response(stream)
        refused = response.reset == ErrorCodes.PROTOCOL_ERROR or connection.goaway is not None
        assert refused or response.status == 400, response
    assert not any(request["path"].startswith(("/lie", "lie")) for request in hostile.seen())


def test_a_request_that_is_reset_at_once_is_not_started(hostile: Target) -> None:
    begun = hostile.count("forever")
    with http2(hostile.address) as connection:
        connection.settled()
        block = head(connection, "/forever/reset")
        connection.frames(HeadersFrame(1, block, flags=["END_STREAM", "END_HEADERS"]), RstStreamFrame(1, error_code=8))
        connection.settled()
        assert hostile.count("forever") == begun
