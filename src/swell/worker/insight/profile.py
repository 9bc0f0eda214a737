"""A profile of this worker, by a thread of its own: where the time goes, or the memory.

Time: so many times a second the stacks of all threads are looked at, and those that have something to do are counted,
below the request that they serve. A look needs the GIL, so native code that keeps it is seen in the line after it, and
time in the engine itself (native, below no Python frame) is told by the CPU clock of the loop's thread, not by its
stack. Memory: tracemalloc for that time; what was allocated then and is still there at its end.

Costs nothing when it is not running. Called by the probe; the document is told in `swell.telemetry.profile`.
"""

from __future__ import annotations

import asyncio
import linecache
import re
import sys
import threading
import time
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Mapping
from types import CodeType, FrameType
from typing import Any

from swell.worker.insight.scopes import scope_of
from swell.worker.insight.stacks import waiting_frames

__all__ = ["profile"]

DEPTH = 200
SWITCH_SECONDS = 0.0001
LABELS_AT_MOST = 200
STACKS_AT_MOST = 20_000
# Frames that tracemalloc keeps of each allocation, the innermost ones. An allocation takes 20 times as long with them,
# 40 times with 20 of them.
MEMORY_DEPTH = 8
# A thread whose innermost frame is in one of these waits for something to do.
_IDLE_FILES = ("/threading.py", "/queue.py", "/selectors.py", "/concurrent/futures/thread.py", "/asyncio/runners.py",
               "/asyncio/base_events.py", "/worker/probe.py")  # fmt: skip
_NUMBERS = re.compile(r"/(?:\d+|[0-9a-f-]{16,})(?=/|$)", re.IGNORECASE)
_ENGINE = ("the engine, the event loop, steps too short to be seen", "", 0)

Stack = tuple[tuple[str, str, int], ...]


def profile(
    loop: asyncio.AbstractEventLoop | None, seconds: float, hz: int, enough: threading.Event, *, memory: bool
) -> dict[str, Any]:
    """Takes so many seconds, unless it is `enough` before."""
    return _memory(seconds, enough) if memory else _Sampler(loop).run(seconds, hz, enough)


class _Sampler:
    """Counts stacks."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._main = threading.main_thread().ident or 0
        self._own = threading.get_ident()
        self._labels: weakref.WeakKeyDictionary[asyncio.Task[Any], str] = weakref.WeakKeyDictionary()
        self._known: set[str] = set()
        self._counts: Counter[tuple[str, tuple[CodeType, ...], int]] = Counter()
        self._engine = self._idle = 0
        self._owed = 0.0
        # What the loop's thread has used: without a Python frame there is nothing else that tells work from rest.
        self._clock = time.pthread_getcpuclockid(self._main) if hasattr(time, "pthread_getcpuclockid") else None
        self._cpu = self._cpu_seconds()

    def run(self, seconds: float, hz: int, enough: threading.Event) -> dict[str, Any]:
        # A thread that wants the GIL waits for so long before it interrupts the one that has it. By default (5 ms) it
        # seldom gets it before that one waits for something by itself, and all would seem to happen there.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            return self._run(seconds, hz, enough)
        finally:
            sys.setswitchinterval(interval)

    def _run(self, seconds: float, hz: int, enough: threading.Event) -> dict[str, Any]:
        begun = due = time.monotonic()
        looks = late = 0
        spent = 0.0
        while (now := time.monotonic()) < begun + seconds and not enough.is_set():
            if due > now:
                time.sleep(due - now)
            began = time.thread_time()
            self._look(1 / hz)
            spent += time.thread_time() - began
            looks += 1
            due += 1 / hz
            if (behind := int((time.monotonic() - due) * hz)) > 0:
                late += behind
                due += behind / hz
        stacks = [[count, self._named(key)] for key, count in self._counts.most_common(STACKS_AT_MOST)]
        if self._engine:
            stacks.append([self._engine, (_ENGINE,)])
        document = _document("samples", stacks)
        lines: Counter[tuple[str, int, str]] = Counter()
        for (_, codes, line), count in self._counts.items():
            lines[codes[-1].co_filename, line, codes[-1].co_qualname] += count
        document["lines"] = [
            [count, name, file, line, linecache.getline(file, line).strip()]
            for (file, line, name), count in lines.most_common(50)
        ]
        return document | {
            "sampler": "in-process", "seconds": time.monotonic() - begun, "hz": hz, "looks": looks, "missed": late,
            "idle": self._idle, "cpu_seconds": spent,
        }  # fmt: skip

    def _look(self, period: float) -> None:
        task = None if self._loop is None else asyncio.current_task(self._loop)
        frames = sys._current_frames()
        for ident, frame in frames.items():
            if ident == self._main:
                self._look_at_loop(frame, task, period)
            elif ident != self._own and not frame.f_code.co_filename.endswith(_IDLE_FILES):
                codes, line = _codes(frame)
                self._counts["threads", codes, line] += 1

    def _look_at_loop(self, frame: FrameType, task: asyncio.Task[Any] | None, period: float) -> None:
        used = self._cpu_seconds()
        # At most what is to be told apart in this and the next few looks.
        self._owed = min(self._owed + (used - self._cpu) / period, 4.0)
        self._cpu = used
        code = frame.f_code
        if task is None and (code.co_filename.endswith(_IDLE_FILES) or code.co_name == "_run"):
            if self._owed >= 0.5:
                self._owed -= 1
                self._engine += 1
            else:
                self._idle += 1
            return
        self._owed = max(self._owed - 1, 0.0)
        codes, line = _codes(frame)
        self._counts[self._label(task), codes, line] += 1

    def _cpu_seconds(self) -> float:
        return 0.0 if self._clock is None else time.clock_gettime(self._clock)

    def _label(self, task: asyncio.Task[Any] | None) -> str:
        """The request that is served, with its route or the shape of its path."""
        if task is None:
            return "callbacks"
        label = self._labels.get(task)
        if label is None:
            scope = scope_of(frame for frame, _ in waiting_frames(task.get_coro()))
            name = getattr(task.get_coro(), "__qualname__", task.get_name())
            label = f"task {name}" if scope is None else _route(scope)
            if len(self._known) >= LABELS_AT_MOST and label not in self._known:
                label = "other requests and tasks"
            self._known.add(label)
            self._labels[task] = label
        return label

    @staticmethod
    def _named(key: tuple[str, tuple[CodeType, ...], int]) -> Stack:
        label, codes, _ = key
        return ((label, "", 0), *((code.co_qualname, code.co_filename, code.co_firstlineno) for code in codes))


def _codes(frame: FrameType | None) -> tuple[tuple[CodeType, ...], int]:
    """The outermost first, and the line of the innermost."""
    line = 0 if frame is None else frame.f_lineno
    codes: list[CodeType] = []
    while frame is not None and len(codes) < DEPTH:
        codes.append(frame.f_code)
        frame = frame.f_back
    return tuple(reversed(codes)), line


def _route(scope: Mapping[str, Any]) -> str:
    route = scope.get("route")
    template = getattr(route, "path_format", None) or getattr(route, "path", None)
    path = template if isinstance(template, str) else _NUMBERS.sub("/…", str(scope["path"]))
    return f"{scope.get('method', 'WebSocket')} {path}"


def _memory(seconds: float, enough: threading.Event) -> dict[str, Any]:
    traced_already = tracemalloc.is_tracing()
    begun = time.monotonic()
    if not traced_already:
        tracemalloc.start(MEMORY_DEPTH)
    try:
        if enough.wait(seconds):
            return {}
        current, peak = tracemalloc.get_traced_memory()
        snapshot = tracemalloc.take_snapshot()
    finally:
        if not traced_already:
            tracemalloc.stop()
    ours = (tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__))
    found = snapshot.filter_traces(ours).statistics("traceback")[:STACKS_AT_MOST]
    stacks = [
        [one.size, tuple((f"line {frame.lineno}", frame.filename, frame.lineno) for frame in one.traceback)]
        for one in found
    ]
    lines = [
        [one.size, f"{one.count} blocks", frame.filename, frame.lineno, linecache.getline(frame.filename, frame.lineno)]
        for one in snapshot.filter_traces(ours).statistics("lineno")[:50]
        for frame in one.traceback
    ]
    return _document("bytes", stacks) | {
        "lines": [[*one[:4], str(one[4]).strip()] for one in lines], "sampler": "tracemalloc",
        "seconds": time.monotonic() - begun, "traced": current, "peak": peak,
    }  # fmt: skip


def _document(unit: str, stacks: list[list[Any]]) -> dict[str, Any]:
    """Frames are told once."""
    places: dict[tuple[str, str, int], int] = {}
    numbered = [[count, [places.setdefault(frame, len(places)) for frame in stack]] for count, stack in stacks]
    return {"unit": unit, "frames": [list(frame) for frame in places], "stacks": numbered}
