"""A worker's end of `swell logs`: while somebody follows, its log lines go to the parent, too.

The order brings two sockets: one for the engine's access lines, one for what goes through Python's logging. Both are
written without waiting; what a slow follower does not take is dropped and counted. On the event loop's thread. Used by
the attachment.
"""

from __future__ import annotations

from socket import socket
from typing import Any

from swell._core import Engine
from swell.telemetry.follow import Sending, to_socket

__all__ = ["Tap"]

# Above every level: no records of the log are wanted.
NO_LEVEL = 1000


class Tap:
    """At most one at a time; the parent puts together what several want."""

    def __init__(self) -> None:
        self._wanted: dict[str, Any] = {}
        self._access: socket | None = None
        self._log: socket | None = None
        self._sending: Sending | None = None

    def open(self, wanted: dict[str, Any], access: int, log: int, engine: Engine | None) -> None:
        """`wanted`: `statuses` (see `Engine.tap`, 0 for no access lines), `slower`, `contains`, `level` or None. The
        descriptors are ours from now on."""
        self.close(engine)
        self._wanted = wanted
        self._access, self._log = socket(fileno=access), socket(fileno=log)
        self._log.setblocking(False)
        level = wanted["level"] if wanted["level"] is not None else NO_LEVEL
        self._sending = Sending(level, wanted["statuses"] > 0, to_socket(self._log))
        self._sending.attach()
        if engine is not None:
            self.begin(engine)

    def begin(self, engine: Engine) -> None:
        """The engine is there."""
        if self._access is not None and self._wanted["statuses"]:
            engine.tap(
                self._access.fileno(),
                statuses=self._wanted["statuses"],
                slower=self._wanted["slower"],
                contains=self._wanted["contains"].encode(),
            )

    def close(self, engine: Engine | None) -> None:
        """Nobody follows any more."""
        if self._sending is None or self._access is None or self._log is None:
            return
        self._sending.detach()
        if engine is not None:
            engine.tap(None)
        self._access.close()
        self._log.close()
        self._sending = self._access = self._log = None
