"""`--reload`: a small parent that holds the sockets and replaces its worker when a file changes.

There is never more than one worker: the old one has ended before the new one starts, and meanwhile connections wait in
the sockets' queues. A worker that fails, because of a syntax error or a crash, is not started again until the next
save. For development only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from swell.config import Config
from swell.errors import SwellError
from swell.supervisor.changes import Changes
from swell.supervisor.process import Child
from swell.telemetry import set_up
from swell.worker.signals import SIGNALS
from swell.worker.sockets import Listeners

__all__ = ["serve_and_reload"]

log = logging.getLogger("swell")

# Nobody who has just saved a file waits longer for requests of the old code, whatever --timeout-graceful-shutdown says.
GRACE_AT_MOST = 5.0


def serve_and_reload(config: Config) -> int:
    """Serves until a signal comes. Returns the exit code: 0, or 1 when an address cannot be had."""
    received: list[signal.Signals] = []
    grace = GRACE_AT_MOST if config.timeout_graceful_shutdown is None else config.timeout_graceful_shutdown
    child_config = dataclasses.replace(config, reload=False, timeout_graceful_shutdown=min(grace, GRACE_AT_MOST))
    try:
        set_up(config)
        with _collected(received), Listeners(config) as listeners, Changes(config) as changes:
            log.info("watching %s for changes", ", ".join(_shown(str(place)) for place in changes.directories))
            _Reloader(child_config, listeners, changes, received).run()
    except SwellError as error:
        sys.stderr.write(f"swell: {error}\n")
        return error.exit_code
    return 0


class _Reloader:
    """The loop of the parent. `received` grows by each signal."""

    def __init__(self, config: Config, listeners: Listeners, changes: Changes, received: list[signal.Signals]) -> None:
        self._config = config
        self._listeners = listeners
        self._changes = changes
        self._received = received

    def run(self) -> None:
        """Until a signal comes."""
        while not self._received:
            child = Child(self._config, self._listeners.sockets)
            try:
                self._attend(child)
            finally:
                child.close()

    def _attend(self, child: Child) -> None:
        """Returns when the next child is to be started, or the end has come. This child has ended then."""
        while not self._received and child.poll() is None and not self._changes.poll():
            pass
        code = child.poll()
        changed: list[str] = []
        if code is None:
            changed += self._settle()
            self._stop(child)
        elif not self._received and not self._ended_to_be_replaced(code):
            log.warning("%s; waiting for a file to change", _cause(code))
            while not self._received and not self._changes.poll():
                pass
        # What is saved while the old worker ends is in the new one already.
        if not self._received and self._changes.poll():
            changed += self._settle()
        # Not earlier: the old worker may have written bytecode of the old source until its end.
        _forget_bytecode(changed)

    def _settle(self) -> list[str]:
        """Waits until the changes pause, says which they are and returns them. At once when the end has come."""
        changed = self._changes.settle(lambda: bool(self._received))
        if changed and not self._received:
            names = ", ".join(_shown(path) for path in changed[:3])
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            log.info("%s%s changed: starting again", names, more)
        return changed

    def _stop(self, child: Child) -> None:
        seen = len(self._received)
        code = child.stop(told=seen > 0, hurried=lambda: len(self._received) > min(seen, 1))
        if code != 0:
            log.warning("%s while it was stopped", _cause(code))

    def _ended_to_be_replaced(self, code: int) -> bool:
        return code == 0 and self._config.limit_max_requests is not None


def _cause(code: int) -> str:
    if code >= 0:
        return f"the worker ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"the worker was ended by {signal.Signals(-code).name}"
    return f"the worker was ended by signal {-code}"


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


@contextlib.contextmanager
def _collected(received: list[signal.Signals]) -> Iterator[None]:
    """SIGINT and SIGTERM are only noted: the loop looks at them."""

    def note(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
