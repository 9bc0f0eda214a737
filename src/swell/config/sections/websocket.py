"""Options: WebSocket connections. RFC 6455, RFC 7692."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swell.config.kinds import duration, flag, integer, number, off, size
from swell.config.option import option

__all__ = ["WebSocket"]


@dataclass(frozen=True, kw_only=True)
class WebSocket:
    __slots__ = ()
    title: ClassVar[str] = "WebSocket"

    ws_max_size: int = option(
        size(1, 1 << 31),
        16 << 20,
        "Bytes in one message, after inflating.",
        why="A message is handed over whole, so this is memory per connection. A frame that announces more is refused"
        " before a byte of it is stored.",
        answer="close 1009",
    )
    ws_max_queue: int = option(
        number(),
        32,
        "Messages that may wait for the application; then reading from the connection stops.",
        why="Keeps a busy application fed; the rest waits at the sender, by TCP's own flow control.",
        answer="nothing, the sender waits",
    )
    ws_max_fragments: int = option(
        number(),
        131_072,
        "Frames in one message.",
        why="Allows frames of 128 bytes up to the largest message; an endless row of empty ones ends.",
        answer="close 1009",
    )
    ws_inflate_ratio: int | None = option(
        off(integer(1, 1032)),
        200,
        "How many times larger a compressed message may get by inflating, checked above a floor while inflating.",
        why="Text seldom shrinks to less than a fiftieth, deflate's most is 1032: what lies between is a bomb.",
        answer="close 1009",
    )
    ws_ping_interval: float | None = option(
        off(duration()),
        20.0,
        "Time between the pings that are sent on an open connection.",
        why="Below the idle time-out of common proxies, 60 s, so that quiet connections live.",
        answer="a ping is sent",
    )
    ws_ping_timeout: float | None = option(
        off(duration()),
        20.0,
        "How long the answer to a ping may take.",
        why="Finds peers that vanished without a word within 40 s.",
        answer="close 1011",
    )
    ws_close_timeout: float = option(
        duration(),
        10.0,
        "How long to wait for the peer's close frame after our own.",
        why="Long enough for the slowest network; then the peer is taken for gone.",
        answer="connection closed",
    )
    ws_per_message_deflate: bool = option(
        flag(), True, "Offer compression of messages, permessage-deflate.", takes_value=True
    )
