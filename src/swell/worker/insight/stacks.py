"""The stacks of all threads of a worker, as a document. Looked at from the probe's thread.

Other threads run on meanwhile: each stack is true by itself, two of them need not be of the same moment.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

from swell.worker.insight.scopes import described, scope_of

__all__ = ["Frame", "frames_of", "stacks", "waiting_frames"]

Frame = dict[str, Any]

# Deeper than any honest stack; one that recurses without end is cut in the middle.
FRAMES_AT_MOST = 400
THREADS_AT_MOST = 500


def stacks(loop: asyncio.AbstractEventLoop | None) -> dict[str, Any]:
    """All threads, the event loop's first. `loop` tells which task runs on it."""
    main, own = threading.main_thread().ident, threading.get_ident()
    known = {thread.ident: thread for thread in threading.enumerate()}
    found = []
    for ident, innermost in sorted(sys._current_frames().items(), key=lambda item: (item[0] != main, item[0] == own)):
        thread = known.get(ident)
        task = asyncio.current_task(loop) if loop is not None and ident == main else None
        outermost_first = [frame for frame, _ in traceback.walk_stack(innermost)][::-1]
        scope = scope_of(outermost_first) if ident == main else None
        found.append(
            {
                "name": "event loop" if ident == main else thread.name if thread else "made without threading",
                "thread_id": os.getpid() if ident == main else getattr(thread, "native_id", None),
                "is_loop": ident == main,
                "is_probe": ident == own,
                "task": None if task is None else task.get_name(),
                "request": None if scope is None else described(scope),
                "stack": frames_of((frame, frame.f_lineno) for frame in outermost_first),
            }
        )
    return {"threads": found[:THREADS_AT_MOST], "left_out": max(0, len(found) - THREADS_AT_MOST)}


def frames_of(frames: Iterator[tuple[FrameType, int]]) -> list[Frame]:
    """JSON-ready, the outermost frame first. `code` is the line of source, empty where there is none."""
    extracted = traceback.StackSummary.extract(frames, lookup_lines=False)
    if len(extracted) > FRAMES_AT_MOST:
        half = FRAMES_AT_MOST // 2
        extracted = traceback.StackSummary.from_list([*extracted[:half], *extracted[-half:]])
    return [
        {"file": one.filename, "line": one.lineno, "function": one.name, "code": (one.line or "").strip()}
        for one in extracted
    ]


def waiting_frames(waiting: Any) -> Iterator[tuple[FrameType, int]]:
    """The frames of a suspended coroutine, the outermost first."""
    while waiting is not None:
        for frame_name, next_name in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
            if hasattr(waiting, frame_name):
                frame = getattr(waiting, frame_name)
                if frame is not None:
                    yield frame, frame.f_lineno
                waiting = getattr(waiting, next_name)
                break
        else:
            return
