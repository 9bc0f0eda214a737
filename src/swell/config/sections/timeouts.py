"""Options: how long a peer or the application may take. On by default except where only the application can know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swell.config.kinds import duration, off, size
from swell.config.option import option

__all__ = ["Timeouts"]


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    __slots__ = ()
    title: ClassVar[str] = "Time-outs"

    timeout_handshake: float | None = option(
        off(duration()),
        10.0,
        "From the start of a connection to the end of the TLS handshake.",
        why="Two round trips, on a satellite link with losses too.",
        answer="connection closed",
    )
    timeout_header: float | None = option(
        off(duration()),
        30.0,
        "From the start of a connection, or from the first byte of a later request, to the complete head.",
        why="Longer than any honest client needs, short enough that trickled heads (slowloris) cannot pile up.",
        answer="408 if a request had begun, connection closed",
    )
    timeout_keep_alive: float = option(
        duration(zero=True),
        75.0,
        "How long a connection may stay idle between two requests. 0 closes after each response.",
        why="Longer than the 60 s of common load balancers, which must be the ones to close first: else they send"
        " into a closing connection and their clients see 502.",
        answer="connection closed",
        uvicorn="uvicorn waits 5 s",
    )
    timeout_queue: float | None = option(
        off(duration()),
        10.0,
        "How long a request may wait for a place under --limit-concurrency.",
        why="A person reloads the page by then; work for the old request would be lost.",
        answer="503 with Retry-After",
    )
    timeout_request: float | None = option(
        off(duration()),
        None,
        "From the complete head to the end of the response; the request's task is cancelled.",
        why="Off: streams, long polls and uploads are as long as the application wants.",
        answer="504; after the response has begun the connection is aborted",
    )
    timeout_write: float | None = option(
        off(duration()),
        60.0,
        "How long a response may wait without the client taking a single byte.",
        why="A client that has stopped reading holds memory and a task. Slow is allowed, standing still is not.",
        answer="connection aborted",
    )
    body_rate_min: int | None = option(
        off(size(1)),
        240,
        "Bytes per second that a request's body must reach on average, measured only while the server waits for it.",
        why="Slower than any usable network; it bounds how long a trickled body can hold a request.",
        answer="408, connection closed",
    )
    body_rate_grace: float = option(
        duration(zero=True),
        10.0,
        "Time from the first read of a body before --body-rate-min is enforced.",
        why="A lossy mobile network may pause for seconds before it flows.",
        answer="--body-rate-min counts",
    )
    timeout_graceful_shutdown: float | None = option(
        off(duration(zero=True)),
        30.0,
        "Time that running requests get to finish after SIGTERM, before their tasks are cancelled.",
        why="Bounded, so that one stream cannot hold a deployment. Keep it below the time after which your platform"
        " kills: `docker stop` 10 s, Kubernetes 30 s.",
        answer="connection aborted; WebSocket close 1012",
        uvicorn="uvicorn waits without end",
    )
