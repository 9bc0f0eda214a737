"""What a service manager is told about the instance: sd_notify(3), `Type=notify`, `Type=notify-reload`, `WatchdogSec=`.

`Notifier` sends the messages; `Reporter` knows when. Without NOTIFY_SOCKET nothing is sent. Socket activation, the
other half of systemd's protocols, is `swell.worker.sockets`. Called by `main` and `upgrade`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Mapping

from swell.supervisor.parent import Parent
from swell.supervisor.workers import State

__all__ = ["Notifier", "Reporter"]

log = logging.getLogger("swell")


class Notifier:
    """Messages to the service manager."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL of an abstract name. Others, such as vsock:, are for virtual machines.
        self._address = "\0" + name[1:] if name.startswith("@") else name if name.startswith("/") else ""
        self.watchdog = _watchdog_seconds(environ)
        """Seconds within which a sign of life is expected; None when none is."""

    @property
    def enabled(self) -> bool:
        return bool(self._address)

    def send(self, **fields: str | int) -> bool:
        """Whether the message could be sent. Never blocks and never raises."""
        if not self._address:
            return False
        text = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.connect(self._address)
                sender.send(text.encode())
        except OSError as error:
            log.debug("cannot notify the service manager: %s", error)
            return False
        return True


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """sd_watchdog_enabled(3)."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    with contextlib.suppress(ValueError):
        if (microseconds := int(environ.get("WATCHDOG_USEC", ""))) > 0:
            return microseconds / 1e6
    return None


class Reporter:
    """Follows the parent, from `start` to `stop`, and reports each change of its state."""

    def __init__(self, notifier: Notifier, parent: Parent) -> None:
        self._notifier = notifier
        self._parent = parent
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = False
        self._status = ""

    def start(self) -> None:
        """From now on, on the running loop. What has happened before is told at once."""
        if not self._notifier.enabled:
            return
        loop = asyncio.get_running_loop()
        self._parent.on_state = self._state_changed
        self._state_changed()
        self._tasks.append(loop.create_task(self._follow()))
        if self._notifier.watchdog is not None:
            self._tasks.append(loop.create_task(self._show_life(self._notifier.watchdog / 2)))

    def stop(self) -> None:
        """Another process reports from now on, or nobody."""
        self._parent.on_state = lambda: None
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def reloading(self) -> None:
        """The start of a reload or an upgrade, which ends with the next `ready`."""
        self._ready = False
        # CLOCK_MONOTONIC tells the manager that this is the answer to its own signal and not an earlier one's.
        self._notifier.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)

    def ready(self) -> None:
        """Requests are served by the code that is wanted, or by the old one if that could not be had."""
        if not self._ready:
            self._ready = True
            self._notifier.send(READY=1, STATUS=self.status())

    def status(self) -> str:
        """One line for `systemctl status`."""
        parent = self._parent
        number = len(parent.workers)
        others = "" if number == parent.ready else f", {number - parent.ready} starting or finishing"
        target = f" of {parent.target} wanted" if parent.target != parent.ready else ""
        state = "serving" if parent.state == "running" else parent.state
        return f"{state}: {parent.ready} worker{'' if parent.ready == 1 else 's'} ready{target}{others}"

    def _state_changed(self) -> None:
        match self._parent.state:
            case "running" | "sleeping":
                self.ready()
            case "reloading":
                self.reloading()
            case "draining" | "stopping":
                self._notifier.send(STOPPING=1)

    async def _follow(self) -> None:
        while True:
            if (status := self.status()) != self._status:
                self._status = status
                self._notifier.send(STATUS=status)
            await self._parent.wait_changed()

    async def _show_life(self, seconds: float) -> None:
        while True:
            if self._is_well():
                self._notifier.send(WATCHDOG=1)
            await asyncio.sleep(seconds)

    def _is_well(self) -> bool:
        """Whether somebody serves, is about to, or need not. That this runs at all says that our own loop turns."""
        parent = self._parent
        if parent.ending or parent.state == "sleeping":
            return True
        return any(
            worker.state is State.STARTING
            or (worker.state is State.READY and parent.slots.board.read(worker.seat.slot)["state"] != "stuck")
            for worker in parent.workers.values()
        )
