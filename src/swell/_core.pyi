"""The native part of Swell: sockets, timers, connections and the ASGI cycle. Checked against the built module."""

import asyncio
import contextvars
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, final

from swell.worker.asgi import Application
from swell.worker.settings import EngineSettings
from swell.worker.tls import Material

__all__ = [
    "BUILD_PROFILE",
    "DURATION_BOUNDS",
    "VERSION",
    "ClientDisconnected",
    "Engine",
    "MessageError",
    "Scoreboard",
    "TlsContext",
    "forward_inbox",
    "route_of",
    "self_signed",
]

BUILD_PROFILE: Final[str]
VERSION: Final[str]
DURATION_BOUNDS: Final[tuple[float, ...]]
"""Upper bounds of the buckets that `Scoreboard.requests` counts in, in seconds; one more bucket has none."""

def route_of(scope: dict[str, Any]) -> str | None:
    """The template of the path, such as `/items/{id}`, that the application's router has left in its HTTP scope."""

def forward_inbox(inbox_fd: int, outbox_fd: int) -> int:
    """Moves the connections that a dead worker has not taken out of its inbox to another's; returns how many.

    Nobody else may read `inbox_fd` meanwhile. Stops early when the other inbox is full: what is left stays and can go
    to another one. `OSError`: the other inbox is gone, or there are no descriptors left; what was not moved stays.
    """

class ClientDisconnected(OSError):  # noqa: N818 - it says what happened, as asyncio's CancelledError does
    """The client has gone: what `send()` was given cannot be delivered any more (ASGI HTTP 2.4)."""

class MessageError(RuntimeError):
    """The application sent an ASGI message that is malformed or comes at the wrong time."""

def self_signed(names: list[str], not_before: str, not_after: str) -> tuple[str, str]:
    """A certificate that vouches for itself, and its key, both PEM. Times: `YYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5.1)."""

@final
class TlsContext:
    """Certificates, keys and the rest of what TLS handshakes need, made once and then constant."""

    def __new__(cls, material: Material) -> TlsContext:
        """`ValueError` says which file is wrong, and how."""
    @property
    def names(self) -> list[list[str]]:
        """The host names that each certificate is for."""

@final
class Engine:
    def __new__(
        cls,
        settings: EngineSettings,
        event_loop: asyncio.AbstractEventLoop,
        application: Application,
        *,
        state: dict[str, Any] | None,
        context: contextvars.Context,
        report: Callable[[int, str, BaseException | None], object],
        retire: Callable[[], object] | None = None,
        board: Scoreboard | None = None,
        slot: int = 0,
        inbox: int | None = None,
        outboxes: Sequence[int] | None = None,
        slow_turns: int | None = None,
    ) -> Engine:
        """With a `board`, the engine writes what it does into `slot` of it, from zero. `IndexError`: no such slot.

        `inbox` is the receiving end of the socket pair (AF_UNIX, SOCK_SEQPACKET) by which other workers hand
        connections to this one; `outboxes` are the sending ends of all workers', by slot, -1 where there is none (the
        own one is not used). The engine duplicates them. `ValueError`: there is no `board`, without which nobody can
        be compared.

        `slow_turns` is the writing end of a pipe: a turn of the event loop that takes longer than the setting
        `slow_callback` is told there while it lasts (needs a `board`; see crates/engine/src/board/slow.rs).
        """
    def fileno(self) -> int: ...
    def turn(self) -> None: ...
    def listen(self, fd: int, accepting: bool = True, *, tls: bool = False, redirect: int | None = None) -> None:
        """Adds a listening socket, in the same order in every worker. The engine duplicates the descriptor. With `tls`,
        its connections begin with a handshake, which fails until there is a context; with `redirect`, requests are
        answered with the same address on that port of https."""
    def set_tls(self, context: TlsContext) -> None:
        """For handshakes that begin from now on; connections that exist are left alone."""
    def accept_from(self, indexes: Sequence[int]) -> None:
        """Accepts from the listeners at these positions and no others, which stay open. `IndexError`: no such one."""
    def stop_accepting(self) -> None: ...
    def drain(self) -> asyncio.Future[bool]:
        """Idle connections end now, others after their response; WebSockets and event streams stay until `dismiss`.

        The future is done when no connection and no application is left.
        """
    def dismiss(self, count: int | None = None, code: int = 1012) -> int:
        """Asks the next `count` clients that come again by themselves to do so, or all; returns how many are left.

        Open WebSockets are closed with `code`; the applications of event streams, `text/event-stream` of no declared
        length in answer to a GET, receive `http.disconnect`, and need not complete the response.
        """
    def end_streams(self, count: int | None = None) -> int:
        """Completes the next `count` event streams, or all, in the application's place; returns how many are left.

        `send()` raises `ClientDisconnected` from then on.
        """
    def cancel_all(self) -> None: ...
    def abort_all(self) -> None: ...
    def close(self) -> None: ...
    def stats(self) -> dict[str, int]: ...
    def tap(self, fd: int | None, *, statuses: int = 255, slower: float = 0.0, contains: bytes = ...) -> None:
        """Sends lines of the access log to a socket, too: those of these classes of status (bit 5: 5xx, bit 0: no
        response), not faster than `slower` seconds, that contain these bytes. None: no more."""
    def suspended(self) -> list[tuple[asyncio.Task[Any], int]]:
        """The requests whose first step is over: their tasks, and since when they run (`time.monotonic_ns()`; 0 without
        a board). On the loop's thread only, like everything here."""
    @property
    def connections(self) -> int: ...
    @property
    def active(self) -> int: ...
    @property
    def task_start(self) -> str: ...

@final
class Scoreboard:
    """What every worker is doing: a shared-memory file with one slot per worker.

    Any process of the same user reads it at any time, whatever state the workers are in. Slots count from 0; one that
    is not there raises `IndexError`.
    """

    def __new__(cls, path: str | os.PathLike[str]) -> Scoreboard:
        """Maps an existing scoreboard.

        `ValueError` says what is wrong with the file: none of ours, of another version, truncated.
        """

    @staticmethod
    def create(path: str | os.PathLike[str], slots: int) -> Scoreboard:
        """Makes a new file with empty slots (1 to 4096), mode 0600. `FileExistsError` when there is one already."""

    @property
    def path(self) -> str: ...
    @property
    def slots(self) -> int: ...
    @property
    def version(self) -> int:
        """The version of the file's layout."""

    def read(self, slot: int) -> dict[str, Any]:
        """One slot. Times are `time.monotonic_ns()`, durations nanoseconds, sizes bytes; counters since the start.

        worker, generation, state: as given to `reset` and `set_state`. pid, started_ns.
        heartbeat_ns: when the event loop last came round to the engine, at least once a second unless it is blocked.
        turns: how often it did.
        accepted; connections (open now); handed_over, taken_over (to and from other workers); incoming (on their way).
        in_flight: requests whose application has not returned. websockets: the same of WebSockets;
        websockets_opened: all so far.
        requests: all of both so far. responses_1xx … responses_5xx; timed_out.
        handshakes (of TLS, completed), handshakes_resumed (of these); failed ones by reason: handshakes_without_tls,
        _incompatible, _client_certificate, _refused_by_client, _timed_out, _aborted, _malformed, _internal.
        h2_open, h2_streams_open: HTTP/2 connections and streams now; h2_connections, h2_streams: all so far; streams
        that clients have reset: h2_resets_received_cancel, _other; that the server has: h2_resets_sent_refused,
        _stalled, _cancelled, _failed; connections that ended for a reason: h2_closed_resets, _pieces, _overhead
        (floods), _streams (so many were begun), _protocol (broken).
        refused (by the server); overloaded (of these, because of the concurrency limit).
        application_errors, engine_faults, bytes_received, bytes_sent.
        latency: parsed request to the response's last byte. dispatch_delay: arrival to the application's first step.
        loop_lag: lateness of the engine's own timer. Each has 32 counters: below 1 µs, then up to 2 µs, 4 µs and so on.
        latency_ns, dispatch_delay_ns, loop_lag_ns: the sums of these.
        samples, busy_samples: how often the loop's thread was looked at, and was not waiting for events.
        busy: the share of these in the last second or so, in thousandths.
        cpu_ns, rss_bytes: of the process.
        pool_size, pool_busy, pool_waiting, gc_pauses, gc_pause_ns: as given to `note`.
        current: {"line": "GET /x", "since_ns": …} of the request whose first step is running, else None.
        waiting: up to 32 such, of requests that are suspended, the oldest first.
        """

    def requests(self, slot: int) -> list[tuple[tuple[str, str, str, int, str], list[int], int]]:
        """The requests that were answered: ((method, scheme, HTTP version, status, route), counters, nanoseconds).

        The counters are by duration, from the parsed head to the response's last byte, see `DURATION_BOUNDS`. A route
        is the template of the path; empty where the application has not said it, `_OTHER` for those beyond 64. Unusual
        methods are `_OTHER`. At most 128 entries: what came when the table was full is in one of status 0.
        """

    def reset(self, slot: int, worker: int, generation: int) -> None:
        """Clears the slot for a new worker: everything 0, state "empty"."""

    def set_state(self, slot: int, state: str) -> None:
        """`state`: "empty", "starting", "ready", "draining", "stopping" or "stuck"; others raise `ValueError`."""

    def note(self, slot: int, **values: int) -> None:
        """Writes pool_size, pool_busy, pool_waiting, gc_pauses, gc_pause_ns; other names raise `TypeError`."""
