"""`--reload`: when a file changes, the parent reloads. For development only.

The old code serves until the new one is ready; code that does not start leaves it serving, and the next save is waited
for. Started by `main`, next to the parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.util
import logging
import os

from swell.config import Config
from swell.supervisor.changes import Changes
from swell.supervisor.control.protocol import CommandFailed
from swell.supervisor.parent import Parent

__all__ = ["impatient", "watch_and_reload"]

log = logging.getLogger("swell")

# Nobody who has just saved a file waits longer for requests of the old code, whatever --timeout-graceful-shutdown says.
GRACE_AT_MOST = 5.0


def impatient(config: Config) -> Config:
    """The configuration for `--reload`, which does not wait long for requests of the old code."""
    grace = GRACE_AT_MOST if config.timeout_graceful_shutdown is None else config.timeout_graceful_shutdown
    return dataclasses.replace(config, timeout_graceful_shutdown=min(grace, GRACE_AT_MOST))


async def watch_and_reload(changes: Changes, parent: Parent) -> None:
    """Until it is cancelled. The watcher blocks, in a thread of its own, for a moment at a time."""
    log.info("watching %s for changes", ", ".join(_shown(str(place)) for place in changes.directories))
    reloading: asyncio.Task[None] | None = None
    stopped = False
    try:
        while True:
            if not await asyncio.to_thread(changes.poll):
                continue
            changed = await asyncio.to_thread(changes.settle, lambda: stopped)
            names = ", ".join(_shown(path) for path in changed[:3])
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            log.info("%s%s changed: starting again", names, more)
            if reloading is not None:
                # Code that is still being imported has been overtaken.
                reloading.cancel()
                await asyncio.wait((reloading,))
            _forget_bytecode(changed)
            reloading = asyncio.create_task(_reload(parent))
    finally:
        stopped = True
        if reloading is not None:
            reloading.cancel()


async def _reload(parent: Parent) -> None:
    try:
        await parent.reload()
        log.info("reloaded")
    except CommandFailed as error:
        if not parent.ending:
            log.warning("%s; waiting for a file to change", error)


def _forget_bytecode(paths: list[str]) -> None:
    """Python tells old bytecode by the size and the second of its source: two saves in one second look the same."""
    for path in paths:
        if path.endswith(".py"):
            with contextlib.suppress(OSError):
                os.unlink(importlib.util.cache_from_source(path))


def _shown(path: str) -> str:
    """Relative where that is shorter to read."""
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative
