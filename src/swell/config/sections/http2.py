"""Options: HTTP/2. RFC 9113."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from swell.config.kinds import choice, integer, size
from swell.config.option import option

__all__ = ["Http2"]


@dataclass(frozen=True, kw_only=True)
class Http2:
    __slots__ = ()
    title: ClassVar[str] = "HTTP/2"

    http_version: Literal["auto", "1.1", "2"] = option(
        choice("auto", "1.1", "2"),
        "auto",
        "The HTTP versions that are spoken: all that the server knows, or one.",
        why="In clear text a client says HTTP/2 with its first bytes (prior knowledge, RFC 9113 §3.3), so both live on"
        " one port.",
    )
    h2_max_streams: int = option(
        integer(1, 10_000),
        100,
        "Requests that one HTTP/2 connection may have open at the same time.",
        why="What RFC 9113 §6.5.2 recommends as the least; browsers stay below it. Applications that still run after"
        " their client has reset the stream count up to twice this.",
        answer="REFUSED_STREAM",
    )
    h2_stream_window: int = option(
        size(65_535, (1 << 31) - 1),
        256 << 10,
        "Bytes of one request body that may be under way or wait for the application.",
        why="An upload moves this much per round trip: 256 KiB fill 20 Mbit/s over 100 ms. It is memory per stream that"
        " its client can claim.",
        answer="nothing, the sender waits",
    )
    h2_connection_window: int = option(
        size(65_535, (1 << 31) - 1),
        1 << 20,
        "The same for all request bodies of one HTTP/2 connection together.",
        why="Four uploads at full speed beside each other.",
        answer="nothing, the sender waits",
    )
    h2_max_resets: int = option(
        integer(1, 1_000_000),
        400,
        "Streams that one HTTP/2 connection may reset within ten seconds.",
        why="A browser that leaves a page resets what is open, 100 at most. A rapid reset attack (CVE-2023-44487) sends"
        " thousands a second.",
        answer="GOAWAY ENHANCE_YOUR_CALM",
    )
    h2_max_overhead: int = option(
        integer(10, 1_000_000),
        1000,
        "Frames that carry nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA) within ten seconds on one"
        " HTTP/2 connection, beyond eight for each frame that does.",
        why="Keep-alive pings need one in ten seconds. Floods of such frames cost the server answers and time"
        " (CVE-2019-9511 to 9518).",
        answer="GOAWAY ENHANCE_YOUR_CALM",
    )
