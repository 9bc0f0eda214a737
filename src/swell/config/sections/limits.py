"""Options: how much a peer may ask for. On by default; each names the answer that a peer gets beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swell.config.kinds import integer, number, off, size
from swell.config.option import option

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    __slots__ = ()
    title: ClassVar[str] = "Limits"

    limit_request_line: int = option(
        size(64, 1 << 20),
        8190,
        "Bytes in the request line: method, target and version.",
        why="RFC 9112 §3 asks for at least 8000. Front servers draw the line about here, so longer ones rarely arrive.",
        answer="414, connection closed",
    )
    limit_head_fields: int = option(
        integer(1, 256),
        100,
        "Header fields in a request. The same number holds for trailers.",
        why="A browser behind two proxies sends about 30.",
        answer="431, connection closed",
    )
    limit_head_size: int = option(
        size(256, 16 << 20),
        64 << 10,
        "Bytes in the whole head of a request: request line and fields.",
        why="Room for large cookies and tokens. It is the most that a connection can make the server hold before the"
        " application is asked.",
        answer="431, connection closed",
    )
    limit_body_size: int | None = option(
        off(size(0)),
        None,
        "Bytes in the body of a request.",
        why="Off: a body is never collected, reading stops while the application does not take it, so that only the"
        " application can say what is too much. Set it when your largest upload is known.",
        answer="413, connection closed",
    )
    limit_requests_per_connection: int | None = option(
        off(number()),
        None,
        "Requests on one connection; the last answer says Connection: close.",
        why="Off: a connection does not grow with age, and a new one costs the client a handshake. Set it where a load"
        " balancer should spread its connections anew from time to time.",
        answer="Connection: close on the last response",
    )
    limit_concurrency: int | None = option(
        off(number()),
        10_000,
        "Requests that one worker runs at a time. Connections that wait for a request do not count, nor do open"
        " WebSockets.",
        why="Above any honest load of one process, streams and long polls included, and low enough that a stalled"
        " database ends in refusals and not in lack of memory. Lower it to what your application sustains.",
        answer="waits in the queue, see --limit-queue",
        uvicorn="uvicorn counts connections, idle ones included, and answers 503 at once",
    )
    limit_queue: int = option(
        integer(0, 1_000_000),
        1000,
        "Requests that wait for a place under --limit-concurrency.",
        why="Absorbs a burst; a longer queue would only hold requests whose clients have given up. 0 refuses at once.",
        answer="503 with Retry-After",
    )
