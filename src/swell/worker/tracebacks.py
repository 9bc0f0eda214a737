"""The application's own tracebacks, without the frames of Swell and of the import machinery.

Used where the process tells why an application did not load or start. Knows nothing of where they come from.
"""

from __future__ import annotations

import importlib
import os
from traceback import FrameSummary, StackSummary, TracebackException

__all__ = ["application_traceback"]

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


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
