"""The application's own tracebacks and stacks, without the frames of Swell and of the machinery around it.

Used where the process tells why an application did not load or start, or where it hangs. Knows nothing of where they
come from.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Iterable
from traceback import FrameSummary, StackSummary, TracebackException
from types import FrameType

__all__ = ["application_stack", "application_traceback"]

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# uvloop's frames carry the names of its sources.
_AROUND = (_OURS, os.path.dirname(os.path.abspath(asyncio.__file__)) + os.sep, "uvloop/", "<frozen ")
# Of a stack that is machinery all through: so many of its innermost frames.
_IDLE_FRAMES = 3


def application_traceback(error: BaseException) -> str:
    """As Python prints it, causes included, in the application's frames and those of the libraries it uses."""
    report = TracebackException.from_exception(error)
    _strip(report, set())
    return "".join(report.format())


def _strip(report: TracebackException | None, seen: set[int]) -> None:
    if report is None or id(report) in seen:
        return
    seen.add(id(report))
    if report.stack:
        kept = [frame for frame in report.stack if not _machinery(frame)]
        # Without a frame there is no heading either: a syntax error names its own place.
        report.stack = StackSummary.from_list(kept) if kept else None  # type: ignore[assignment]  # typeshed omits None
    _strip(report.__cause__, seen)
    _strip(report.__context__, seen)
    for member in report.exceptions or ():
        _strip(member, seen)


def _machinery(frame: FrameSummary) -> bool:
    return frame.filename.startswith((_OURS, "<frozen importlib")) or frame.filename == importlib.__file__


def application_stack(innermost_first: Iterable[tuple[FrameType, int]]) -> str:
    """A stack as Python prints it, the innermost frame last, from where the application begins."""
    frames = StackSummary.extract(iter(innermost_first), lookup_lines=False)
    frames.reverse()
    inside = (at for at, frame in enumerate(frames) if not _around(frame))
    begin = next(inside, max(0, len(frames) - _IDLE_FRAMES))
    return "".join(StackSummary.from_list(frames[begin:]).format())


def _around(frame: FrameSummary) -> bool:
    return frame.filename.startswith(_AROUND) or frame.filename == importlib.__file__
