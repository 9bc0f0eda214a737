"""Every asyncio task of a worker, with its request, its age, where it waits, and who waits for it.

Looked at from the probe's thread, so that it works while the loop hangs; only the ages come from the loop's own thread,
if that answers. asyncio keeps no tree of tasks: who waits for whom is read from the callbacks by which a task wakes the
one behind it (await, gather, wait, wait_for, shield, TaskGroup, and anyio's task groups). A task that nobody waits for
stands by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from swell.worker.insight.scopes import described, request_line, scope_of
from swell.worker.insight.stacks import frames_of, waiting_frames

__all__ = ["tasks"]

Task = asyncio.Task[Any]

# A task costs some 20 µs, in which others wait for the GIL: a tenth of a second at most.
TASKS_AT_MOST = 4000
# For the loop to say since when its requests run. It takes no time unless the loop hangs.
AGES_SECONDS = 0.25


def tasks(
    loop: asyncio.AbstractEventLoop,
    suspended: Callable[[], list[tuple[Task, int]]] | None,
    current: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The oldest first. `suspended` gives the requests that wait and since when (time.monotonic_ns), on the loop's
    thread only; `current` is the request whose first step runs, as the scoreboard has it."""
    answered, since = _since(loop, suspended)
    found = sorted(asyncio.all_tasks(loop), key=_number)
    running = asyncio.current_task(loop)
    waiters = {id(waiter): task for task in found if (waiter := getattr(task, "_fut_waiter", None)) is not None}
    now = time.monotonic_ns()
    described_tasks = []
    for task in found[:TASKS_AT_MOST]:
        frames = _running_frames(task) if task is running else list(waiting_frames(task.get_coro()))
        scope = scope_of(frame for frame, _ in frames)
        begun = since.get(id(task))
        if begun is None and current is not None and task is running and scope is not None:
            begun = current["since_ns"] if current["line"].startswith(request_line(scope)) else None
        described_tasks.append(
            {
                "id": id(task),
                "name": task.get_name(),
                "state": _state(task, running),
                "request": None if scope is None else described(scope),
                "age": None if begun is None else (now - begun) / 1e9,
                "awaited_by": [id(other) for other in _awaited_by(task, waiters) if other is not task],
                "coroutine": getattr(task.get_coro(), "__qualname__", repr(task.get_coro())),
                "stack": frames_of(iter(frames)),
            }
        )
    return {"answered": answered, "tasks": described_tasks, "left_out": max(0, len(found) - TASKS_AT_MOST)}


def _since(
    loop: asyncio.AbstractEventLoop, suspended: Callable[[], list[tuple[Task, int]]] | None
) -> tuple[bool, dict[int, int]]:
    """Whether the loop answered, and since when the requests run that it knows."""
    done, since = threading.Event(), {}

    def look() -> None:
        with contextlib.suppress(RuntimeError):  # the engine is closed
            if suspended is not None:
                since.update({id(task): begun for task, begun in suspended() if begun})
        done.set()

    try:
        loop.call_soon_threadsafe(look)
    except RuntimeError:  # the loop is closed
        return False, {}
    return (True, since) if done.wait(AGES_SECONDS) else (False, {})


def _number(task: Task) -> tuple[int, str]:
    """asyncio numbers the tasks that nobody has named."""
    name = task.get_name()
    number = name.removeprefix("Task-")
    return (int(number) if number.isdecimal() else -1), name


def _state(task: Task, running: Task | None) -> str:
    if task is running:
        return "running"
    if task.cancelling():
        return "cancelling"
    return "ready" if getattr(task, "_fut_waiter", None) is None else "waiting"


def _running_frames(task: Task) -> list[tuple[FrameType, int]]:
    """Those of the loop's thread, from the task's own on, which is not suspended and does not know them."""
    innermost = sys._current_frames().get(threading.main_thread().ident or 0)
    outermost = getattr(task.get_coro(), "cr_frame", None)
    frames = list(traceback.walk_stack(innermost))[::-1] if innermost is not None else []
    begin = next((at for at, (frame, _) in enumerate(frames) if frame is outermost), 0)
    return frames[begin:]


def _awaited_by(task: Task, waiters: Mapping[int, Task]) -> Iterator[Task]:
    known: set[int] = set()
    # Python 3.14 keeps them by itself.
    owners: list[Any] = list(getattr(task, "_asyncio_awaited_by", None) or ())
    for entry in getattr(task, "_callbacks", None) or ():
        owners += _behind(entry[0] if isinstance(entry, tuple) else entry)
    for owner in owners:
        found = owner if isinstance(owner, asyncio.Task) else waiters.get(id(owner)) or _host(owner)
        if found is not None and id(found) not in known:
            known.add(id(found))
            yield found


def _behind(callback: Any) -> list[Any]:
    """What a callback works on: the task that it wakes, the future that it completes, the group that it belongs to."""
    if isinstance(callback, functools.partial):
        return [*callback.args, *_behind(callback.func)]
    found = [callback.__self__] if getattr(callback, "__self__", None) is not None else []
    for cell in getattr(callback, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # empty
            continue
    return found


def _host(group: Any) -> Task | None:
    """The task that a task group belongs to: asyncio's, or anyio's."""
    host = getattr(group, "_parent_task", None) or getattr(getattr(group, "cancel_scope", None), "_host_task", None)
    return host if isinstance(host, asyncio.Task) else None
