"""The socket between the parent and one of its processes: one JSON object per line, descriptors beside it.

Both ends use this class; what the messages mean is told in the supervisor's README. Never blocks: a peer that
has stopped reading is noticed by other means (the scoreboard, the reaper).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Channel", "Message"]

Message = dict[str, Any]

_READ = 64 * 1024
# Descriptors in one message, at most.
_DESCRIPTORS = 8


class Channel:
    """One end. `descriptors` holds what came along, in the order of the messages that announce them."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._input = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.descriptors: deque[int] = deque()

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """Our end, and the socket that the other process is given."""
        ours, theirs = socket.socketpair()
        return cls(ours), theirs

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """False when the other end is gone or does not read any more."""
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            sent = socket.send_fds(self._socket, [line], descriptors) if descriptors else self._socket.send(line)
        except OSError:
            return False
        return sent == len(line)

    def receive(self) -> list[Message] | None:
        """The messages that have arrived, or None once the other end is closed and all have been received."""
        ended = False
        while not ended:
            try:
                data, received, _, _ = socket.recv_fds(self._socket, _READ, _DESCRIPTORS)
            except BlockingIOError:
                break
            except OSError:
                ended = True
                break
            for descriptor in received:
                os.set_inheritable(descriptor, False)
            self.descriptors.extend(received)
            ended = not data
            self._input += data
        *lines, self._input = self._input.split(b"\n")
        return None if ended and not lines else [json.loads(line) for line in lines]

    def watch(
        self,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[Message], None],
        on_end: Callable[[], None],
    ) -> None:
        """Calls `on_message` for each message from now on, and `on_end` once when the other end is closed."""

        def readable() -> None:
            messages = self.receive()
            if messages is None:
                self.unwatch()
                on_end()
                return
            for message in messages:
                on_message(message)

        self._loop = loop
        loop.add_reader(self._socket, readable)

    def unwatch(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError, ValueError):  # the loop or the socket is closed
                self._loop.remove_reader(self._socket)
            self._loop = None

    def close(self) -> None:
        """Tells the other end that we are gone."""
        self.unwatch()
        self._socket.close()
        while self.descriptors:
            os.close(self.descriptors.popleft())
