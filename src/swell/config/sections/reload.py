"""Options: reloading during development."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swell.config.kinds import duration, flag, names
from swell.config.option import option

__all__ = ["Reload"]


@dataclass(frozen=True, kw_only=True)
class Reload:
    __slots__ = ()
    title: ClassVar[str] = "Reload"

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
