"""Options: the life of the process, and reloading during development."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swell.config.kinds import duration, flag, integer, names, number, off
from swell.config.option import option

__all__ = ["Process"]


@dataclass(frozen=True, kw_only=True)
class Process:
    __slots__ = ()
    title: ClassVar[str] = "Process and reload"

    workers: int = option(
        number(),
        1,
        "Worker processes. This version runs one.",
        environment=("WEB_CONCURRENCY",),
        uvicorn="uvicorn runs several; Swell refuses more than one, and notes a WEB_CONCURRENCY that it cannot follow",
    )
    limit_max_requests: int | None = option(
        off(number()),
        None,
        "End the worker, gracefully, after this many requests, for a service manager to start anew.",
    )
    limit_max_requests_jitter: int = option(
        integer(0, 2**31 - 1), 0, "A random number up to this is added to --limit-max-requests."
    )
    reload: bool = option(
        flag(),
        False,
        "Start again when a source file changes. For development only.",
        uvicorn="without watchfiles uvicorn polls; Swell asks for it, pip install 'swell[reload]'",
    )
    reload_dir: tuple[str, ...] = option(
        names("DIR"), (), "Directory to watch instead of the current one. Repeatable.", aliases=("reload_dirs",)
    )
    reload_include: tuple[str, ...] = option(
        names("GLOB"), (), "Files to watch besides *.py. Repeatable.", aliases=("reload_includes",)
    )
    reload_exclude: tuple[str, ...] = option(
        names("GLOB"), (), "Files and directories not to watch. Repeatable.", aliases=("reload_excludes",)
    )
    reload_delay: float = option(duration(), 0.25, "Changes that follow each other within this time cause one reload.")
