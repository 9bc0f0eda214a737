"""Which files `--reload` watches, and when they have come to rest after a change.

On watchfiles, an optional dependency. Knows nothing of processes; `reload` polls it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from swell.config import Config
from swell.errors import StartupError

__all__ = ["Changes", "Filter"]

# One look at the watcher, in seconds: how long a signal or the end of the worker may wait to be noticed.
LOOK = 0.05
# Changes that never pause for --reload-delay are taken as one after so many delays.
STORM_DELAYS = 20
# Written by tools and by Python itself, never by the person whose save is waited for.
IGNORED_DIRECTORIES = frozenset(
    {
        "__pycache__", "node_modules", "site-packages", ".git", ".hg", ".svn", ".idea", ".vscode", ".venv", "venv",
        ".tox", ".nox", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis",
    }
)  # fmt: skip


class Filter:
    """Whether a path is of interest: `*.py` and what is included, without what is excluded.

    A pattern is matched with the name, and with the path below the watched directory, where `*` also matches `/`. One
    that is a directory stands for all that is in it.
    """

    def __init__(self, config: Config) -> None:
        self._excluded = [_absolute(path) for path in config.reload_exclude if os.path.isdir(path)]
        self._excludes = [pattern for pattern in config.reload_exclude if not os.path.isdir(pattern)]
        self._included = [_absolute(path) for path in config.reload_include if os.path.isdir(path)]
        self._includes = ["*.py", *(pattern for pattern in config.reload_include if not os.path.isdir(pattern))]
        self.directories = _outermost([*_roots(config), *self._included])

    def __call__(self, path: str) -> bool:
        changed = _absolute(path)
        if any(changed.is_relative_to(directory) for directory in self._excluded):
            return False
        root = next((directory for directory in self.directories if changed.is_relative_to(directory)), None)
        relative = changed if root is None else changed.relative_to(root)
        if IGNORED_DIRECTORIES.intersection(relative.parts[:-1]):
            return False
        # A pattern may name a directory on the way, such as `generated`.
        if any(_matches(step, self._excludes) for step in (relative, *relative.parents) if step.name):
            return False
        return _matches(relative, self._includes) or any(changed.is_relative_to(place) for place in self._included)


def _roots(config: Config) -> list[Path]:
    if config.reload_dir:
        return [_absolute(directory) for directory in config.reload_dir]
    return [_absolute(os.curdir), _absolute(config.app_dir)]


def _outermost(directories: list[Path]) -> list[Path]:
    """Those that lie in none of the others."""
    unique = dict.fromkeys(directories)
    return [one for one in unique if not any(one != other and one.is_relative_to(other) for other in unique)]


def _absolute(path: str) -> Path:
    return Path(os.path.realpath(path))


def _matches(path: Path, patterns: list[str]) -> bool:
    return any(fnmatch(path.name, pattern) or fnmatch(path.as_posix(), pattern) for pattern in patterns)


class Changes:
    """Watches from its construction on. Use as a context manager."""

    def __init__(self, config: Config) -> None:
        try:
            from watchfiles import watch
        except ImportError:
            raise StartupError("--reload needs watchfiles: pip install 'swell[reload]'") from None
        wanted = Filter(config)
        self.directories = wanted.directories
        self._delay = max(config.reload_delay, LOOK)
        self._changed: set[str] = set()
        accept: Callable[[Any, str], bool] = lambda _, path: wanted(path)  # noqa: E731 - a def could not carry this type
        self._watch: Generator[set[tuple[Any, str]], None, None] = watch(
            *self.directories,
            watch_filter=accept,
            step=int(LOOK * 1000),
            debounce=int(LOOK * 1000) * 4,
            rust_timeout=int(LOOK * 1000),
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        # A generator does not begin before it is asked: nothing from here on is missed.
        self._look()

    def _look(self) -> bool:
        found = {path for _, path in next(self._watch)}
        self._changed |= found
        return bool(found)

    def poll(self) -> bool:
        """Waits a moment. True when there are changes, whether or not they have come to rest."""
        self._look()
        return bool(self._changed)

    def settle(self, interrupted: Callable[[], bool]) -> list[str]:
        """Waits until the changes pause, or until `interrupted`. Returns the changed paths and forgets them."""
        begun = quiet_since = time.monotonic()
        while not interrupted():
            now = time.monotonic()
            if now - quiet_since >= self._delay or now - begun >= self._delay * STORM_DELAYS:
                break
            if self._look():
                quiet_since = time.monotonic()
        changed, self._changed = sorted(self._changed), set()
        return changed

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()
