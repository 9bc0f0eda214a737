"""`Feed`: the live data of the page as server-sent events (WHATWG HTML, §9.2), one producer for all who look.

    event: hello    everything: this moment, the points of the last quarter of an hour, the latest decisions
    event: now      once a second: this moment, its point, decisions that are new

While nobody looks, only the points are kept up, every five seconds, so that a page that is opened has something to
show; without `start` not even that. Who reads too slowly is cut off and comes again. Runs on the parent's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from swell.dashboard import COLUMNS, Recorder
from swell.supervisor.control.problem import Problem
from swell.supervisor.control.protocol import Instance
from swell.telemetry.metrics import Snapshot
from swell.worker.asgi import Receive, Send

__all__ = ["Feed"]

WATCHED_SECONDS, UNWATCHED_SECONDS = 1.0, 5.0
VIEWERS_AT_MOST = 32
DECISIONS_SHOWN = 100
# Events that wait for a viewer's socket; at one a second it has not read for as many seconds.
BEHIND_AT_MOST = 10

Viewer = asyncio.Queue[bytes | None]


class Feed:
    """One per instance. `scaling` is what the autoscaler looks at now, None where it does not decide."""

    def __init__(
        self,
        instance: Instance,
        snapshot: Callable[[], Snapshot],
        scaling: Callable[[], Mapping[str, Any] | None] = lambda: None,
    ) -> None:
        self._instance = instance
        self._snapshot = snapshot
        self._scaling = scaling
        self._recorder = Recorder()
        self._viewers: dict[Viewer, Any] = {}
        self._started = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._told = 0.0
        self._latest: dict[str, Any] = {}

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def start(self) -> None:
        """Keeps points from now on, on the running loop, also while nobody looks."""
        self._started = True
        self._schedule(UNWATCHED_SECONDS)

    def dump(self) -> dict[str, Any]:
        """What it has shown, for the parent that takes over."""
        return self._recorder.dump()

    def load(self, said: Mapping[str, Any]) -> None:
        """Goes on where the parent before this one has stopped. Raises `ValueError` and the like."""
        self._recorder.load(said)
        self._latest = {}

    def remember(self, minutes: Iterable[tuple[float, Mapping[str, float | None]]]) -> None:
        """See `Recorder.remember`. Who looks already begins anew."""
        self._recorder.remember(minutes)
        for viewer, access in self._viewers.items():
            viewer.put_nowait(self._hello(access))

    def stop(self) -> None:
        self._started = False
        self._cancel()

    async def serve(self, receive: Receive, send: Send, fields: list[tuple[bytes, bytes]], access: Any) -> None:
        """Sends events until the viewer leaves. `access` is what the page is to know of what it may do."""
        if len(self._viewers) >= VIEWERS_AT_MOST:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"{VIEWERS_AT_MOST} pages look already")
        viewer: Viewer = asyncio.Queue()
        viewer.put_nowait(self._hello(access))
        self._viewers[viewer] = access
        if len(self._viewers) == 1:
            self._schedule(WATCHED_SECONDS)
        leaving = asyncio.ensure_future(_left(receive))
        leaving.add_done_callback(lambda _: viewer.put_nowait(None))
        try:
            with contextlib.suppress(OSError):  # the viewer has left
                fields = [(b"content-type", b"text/event-stream; charset=utf-8"), *fields]
                await send({"type": "http.response.start", "status": 200, "headers": fields})
                while (event := await viewer.get()) is not None:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        finally:
            leaving.cancel()
            del self._viewers[viewer]
            if not self._viewers and not self._started:
                self._cancel()

    def _hello(self, access: Any) -> bytes:
        # While others look, this moment is less than a second old; a look between two would be of next to no time.
        document = self._latest if self._viewers and self._latest else self._document()
        decisions = self._instance.explain(DECISIONS_SHOWN)["decisions"]
        document = {
            **document,
            "columns": COLUMNS,
            "history": list(self._recorder.points),
            "decisions": [_shown(decision) for decision in decisions],
            "access": access,
        }
        return _event("hello", document)

    def _document(self) -> dict[str, Any]:
        at = time.time()
        document = self._recorder.observe(
            at, time.monotonic(), self._instance.status(), self._snapshot(), self._scaling()
        )
        document["why"] = self._instance.explain(1)["now"]
        self._latest = document
        return document

    def _tick(self) -> None:
        self._schedule(WATCHED_SECONDS if self._viewers else UNWATCHED_SECONDS)
        document = self._document()
        if not self._viewers:
            return
        decisions = self._instance.explain(DECISIONS_SHOWN)["decisions"]
        news = [_shown(decision) for decision in decisions if decision["at"] > self._told]
        self._told = max((decision["at"] for decision in news), default=self._told)
        event = _event("now", {**document, "decisions": news})
        for viewer in self._viewers:
            viewer.put_nowait(event if viewer.qsize() < BEHIND_AT_MOST else None)

    def _schedule(self, seconds: float) -> None:
        self._cancel()
        loop = asyncio.get_running_loop()
        # A late look is not made up for.
        self._due = max(self._due + seconds, loop.time()) if self._due else loop.time() + seconds
        self._due = min(self._due, loop.time() + seconds)
        self._timer = loop.call_at(self._due, self._tick)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _shown(decision: Mapping[str, Any]) -> dict[str, Any]:
    return {name: decision[name] for name in ("at", "before", "after", "rule", "guard", "text")}


def _event(name: str, document: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(document, separators=(',', ':'))}\n\n".encode()
