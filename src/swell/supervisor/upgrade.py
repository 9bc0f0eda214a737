"""SIGUSR2: a new parent takes the place of this one, with the same sockets: new Python, new Swell, options read anew.

The old parent starts the same command again and passes its sockets on (`handover`). The new one starts all of its
workers and accepts nothing meanwhile; if it ends, or makes no progress in time, it is gone without a trace and the old
one has not stopped serving. Only then:

    new → old   {"is": "starting", "within": SECONDS}    how long a step may take
                {"is": "progress"}                       a step has been made
                {"is": "prepared"}                       every worker is ready
    old → new   {"is": "begin"}                          there is no way back from here
    new → old   {"is": "serving", "closed": [DESCRIPTOR, ...]}    listening sockets that are wanted no more
    old → new   end of file                              the new one is the main process of the instance

Then the old parent lets its workers finish. Who waits for the old process must not see it end before the new one: see
`standin`. `Upgrade` is the old side, `Takeover` the new. Made by `main`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from swell.errors import StartupError, SwellError
from swell.supervisor.control.protocol import CommandFailed
from swell.supervisor.crash import describe_end
from swell.supervisor.handover import VARIABLE, Handover
from swell.supervisor.inherited import InheritingListeners
from swell.supervisor.instance import InstanceDirectory
from swell.supervisor.parent import Parent
from swell.supervisor.reaper import start_process
from swell.supervisor.standin import Line
from swell.supervisor.systemd import Notifier, Reporter
from swell.worker.channel import Channel, Message
from swell.worker.sockets import Listeners
from swell.worker.tls import unnamed_file

__all__ = ["Takeover", "Upgrade", "logical_directory", "outlive"]

log = logging.getLogger("swell")

# Beyond --timeout-worker-start, for the start of the interpreter and a busy machine, in seconds.
MARGIN = 5.0
# A new parent that has failed ends its workers by force after 5 s; then it is ended by force itself, in seconds.
CLEAN_UP_SECONDS = 10.0
# How often the old workers are looked at, until none of them accepts connections any more, in seconds.
LOOK_SECONDS = 0.02
# The same signal twice within this time is one, in seconds: a terminal signals everybody, and we pass it on.
ONE_SIGNAL = 0.3


def logical_directory() -> str | None:
    """The directory that this process was started in, by the name that it was given: a link in it may lead to another
    version by the time of an upgrade. None where nothing says that it is another than the current one."""
    name = os.environ.get("PWD", "")
    with contextlib.suppress(OSError):
        if os.path.isabs(name) and os.path.samefile(name, "."):
            return name
    return None


class Upgrade:
    """The old parent's side, for its whole life. `line` is there once this process has only to wait for others."""

    def __init__(
        self,
        parent: Parent,
        listeners: Listeners,
        directory: InstanceDirectory,
        notifier: Notifier,
        reporter: Reporter,
        reports: socket.socket | None,
        place: str | None,
    ) -> None:
        """`reports` leads to the process that stands in for us, `place` is the directory to start the command in."""
        self.line: Line | None = None
        self.under_way = False
        self.successor: int | None = None
        self.let_go: Callable[[], Awaitable[None]] | None = None
        """Stops serving what the new parent serves now: the control socket."""
        self.ticket_keys: Callable[[], tuple[bytes, ...]] = lambda: ()
        self.leave: Callable[[], None] = lambda: None
        """Leaves what is to be known of before, beside what was counted."""
        self._parent = parent
        self._listeners = listeners
        self._directory = directory
        self._notifier = notifier
        self._reporter = reporter
        self._reports = reports
        self._place = place
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._news: asyncio.Queue[str] = asyncio.Queue()
        self._within = MARGIN
        self._closed: list[int] = []
        self._closing: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._signalled: dict[int, tuple[int, float]] = {}

    def start(self) -> None:
        """On the running loop."""
        if self._reports is not None:
            asyncio.get_running_loop().add_reader(self._reports, self._stand_in_gone)

    def _stand_in_gone(self) -> None:
        """Nothing is ever sent to us: it is the end of the one whom the outside takes for this server."""
        assert self._reports is not None
        asyncio.get_running_loop().remove_reader(self._reports)
        if not self._parent.ending:
            self._parent.end("the process that stood in for this one has gone")

    async def run(self) -> dict[str, Any]:
        """Replaces this parent. Raises `CommandFailed` when that has failed, and this one serves on."""
        parent = self._parent
        if self.under_way:
            raise CommandFailed("an upgrade is under way already")
        if parent.ending or parent.state in ("starting", "reloading"):
            raise CommandFailed(f"the server is {'ending' if parent.ending else parent.state}: no upgrade now")
        self.under_way = True
        self._idle.clear()
        self._reporter.reloading()
        try:
            pid = await self._replace()
        except CommandFailed as error:
            if parent.ending:
                return {"text": "the server is ending", "pid": os.getpid()}
            self._reporter.ready()
            raise CommandFailed(f"the upgrade has failed, this server goes on: {error}") from None
        finally:
            self.under_way = False
            self._idle.set()
        return {"text": f"pid {pid} serves now", "pid": pid}

    async def _replace(self) -> int:
        channel, end = Channel.pair()
        self._news = asyncio.Queue()
        self._within = self._parent.config.timeout_worker_start
        begun = time.monotonic()
        try:
            with end:
                pid = self._start(end)
        except OSError as error:
            channel.close()
            raise CommandFailed(f"{sys.executable} could not be started: {error.strerror or error}") from None
        log.info("pid %d is to take over; it starts its workers", pid)
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._parent.reaper.expect(pid, lambda status: self._ended(pid, status, ended), begun)
        channel.watch(asyncio.get_running_loop(), self._heard, lambda: None)
        try:
            await self._wait_for("prepared", pid, ended)
            self._parent.meter.hand_on(self._directory.counted, self._parent)
            self.leave()
            channel.send({"is": "begin"})
            await self._wait_for("serving", pid, ended, whatever_comes=True)
        except CommandFailed:
            await self._clean_up(pid, channel, ended)
            raise
        await self._hand_over(pid, channel)
        return pid

    def _start(self, talk: socket.socket) -> int:
        """The same command as ours, with the code and the interpreter that are there now."""
        keys = self.ticket_keys()
        if not keys:
            return self._start_with(talk, None)
        tickets = unnamed_file("\n".join(key.hex() for key in keys).encode())
        try:
            return self._start_with(talk, tickets)
        finally:
            os.close(tickets)

    def _start_with(self, talk: socket.socket, tickets: int | None) -> int:
        text, descriptors = Handover.describe(
            self._listeners, self._directory, talk, self._their_reports(), self._parent.target, tickets
        )
        environ = {**os.environ, VARIABLE: text}
        # It is our id, and the new process is to keep the watchdog quiet as well.
        environ.pop("WATCHDOG_PID", None)
        command = [sys.executable, *sys.orig_argv[1:]]
        place = self._place if self._place is not None and os.path.isdir(self._place) else None
        return start_process(command, descriptors, env=environ, cwd=place)

    def _their_reports(self) -> socket.socket | None:
        if self._reports is not None or not self._stays:
            return self._reports
        if self._pair is None:
            self._pair = socket.socketpair()
        return self._pair[1]

    @property
    def _stays(self) -> bool:
        """Whether whoever has started this process waits for it. systemd can be told of another one, if we are not the
        whole container's first."""
        return self._reports is None and (os.getpid() == 1 or not self._notifier.enabled)

    def _heard(self, message: Message) -> None:
        self._within = float(message.get("within", self._within))
        self._closed = list(message.get("closed", ()))
        self._news.put_nowait(message["is"])

    async def _wait_for(self, word: str, pid: int, ended: asyncio.Future[int], *, whatever_comes: bool = False) -> None:
        """Until it says so. Raises `CommandFailed` when it does not, or when we are to end meanwhile; `whatever_comes`:
        then it is to end as well, but as one that serves already."""
        loop = asyncio.get_running_loop()
        since = loop.time()
        while True:
            news = asyncio.ensure_future(self._news.get())
            change = asyncio.ensure_future(self._parent.wait_changed())
            allowed = self._within + MARGIN
            left = max(0.0, since + allowed - loop.time())
            try:
                await asyncio.wait((news, change, ended), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                change.cancel()
                news.cancel()
            if self._parent.ending and not whatever_comes:
                raise CommandFailed("the server is ending")
            if news.done() and not news.cancelled():
                if news.result() == word:
                    return
                since = loop.time()
            elif ended.done():
                raise CommandFailed(f"pid {pid} ended with {describe_end(ended.result())} before it was ready")
            elif loop.time() >= since + allowed:
                raise CommandFailed(
                    f"pid {pid} made no progress for {allowed:g} s (--timeout-worker-start and {MARGIN:g} s)"
                )

    async def _clean_up(self, pid: int, channel: Channel, ended: asyncio.Future[int]) -> None:
        """Has the new parent end, which serves nothing."""
        channel.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not ended.done():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                await asyncio.wait((ended,), timeout=CLEAN_UP_SECONDS)
        self._directory.forget(pid)
        with contextlib.suppress(StartupError):
            self._directory.write_pid()

    async def _hand_over(self, pid: int, channel: Channel) -> None:
        self.successor = pid
        self._reporter.stop()
        if self._pair is not None and self._stays:
            self.line = Line(self._pair[0].fileno(), [pid])
        elif self._reports is not None:
            self._report(f"parent {pid}")
        else:
            self._notifier.send(MAINPID=pid)
        channel.close()
        self._listeners.release()
        if self._parent.ending:
            log.info("pid %d serves now, and is told to end", pid)
            os.kill(pid, signal.SIGTERM)
        else:
            self._parent.end(f"pid {pid} serves now", grace=False)
        self._closing = asyncio.get_running_loop().create_task(self._close_unwanted())
        if self.let_go is not None:
            await self.let_go()
        self._directory.release()

    async def _close_unwanted(self) -> None:
        """Addresses that went away refuse connections from now on, instead of letting them wait for our end."""
        board = self._parent.slots.board
        # A worker that still accepts would complain. Nobody tells us that it has stopped, but its slot.
        while any(board.read(one.seat.slot)["state"] == "ready" for one in self._parent.workers.values()):  # noqa: ASYNC110 - see above
            await asyncio.sleep(LOOK_SECONDS)
        for one in self._listeners.sockets:
            if one.fileno() in self._closed:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _ended(self, pid: int, status: int, ended: asyncio.Future[int]) -> None:
        ended.set_result(status)
        if self.successor == pid:
            if self.line is not None:
                self.line.ended(pid, status)
            elif self._reports is not None:
                self._report(f"ended {pid} {status}")

    def _report(self, line: str) -> None:
        assert self._reports is not None
        with contextlib.suppress(OSError):  # the one who stands in has been killed
            self._reports.send(f"{line}\n".encode())

    def received(self, number: signal.Signals) -> None:
        """A signal after the hand-over: meant for the one who serves, if we are the one whom the outside knows."""
        if self.line is not None:
            self.line.forward(number)
        if number not in (signal.SIGTERM, signal.SIGINT):
            return
        count, last = self._signalled.get(number, (0, 0.0))
        now = time.monotonic()
        count += now - last > ONE_SIGNAL
        self._signalled[number] = count, now
        # The first one asks for what is done already.
        if sum(count for count, _ in self._signalled.values()) == 2:
            self._parent.end_now(f"{number.name} again")

    async def finish(self) -> None:
        """Once the parent has ended: sees a successor out that nobody wants any more."""
        if self.under_way:
            self._parent.reaper.start(asyncio.get_running_loop())
            await asyncio.wait((asyncio.ensure_future(self._idle.wait()),), timeout=2 * CLEAN_UP_SECONDS)
            self._parent.reaper.stop()

    def close(self) -> None:
        """Behind everything else. The descriptor of `line` stays open: it is needed until the process ends."""
        if self._pair is not None:
            self._pair[1].close()
            if self.line is None:
                self._pair[0].close()
            else:
                self._pair[0].detach()
        if self._reports is not None:
            self._reports.close()


class Takeover:
    """The new parent's side."""

    def __init__(
        self,
        handover: Handover,
        parent: Parent,
        listeners: InheritingListeners,
        directory: InstanceDirectory,
        reporter: Reporter,
    ) -> None:
        self.begin_control: Callable[[], Awaitable[None]] | None = None
        self.find: Callable[[], None] = lambda: None
        """Finds what the old one has left."""
        self._parent = parent
        self._listeners = listeners
        self._directory = directory
        self._reporter = reporter
        self._channel = Channel(handover.talk)
        self._begun = False
        self._tasks: set[asyncio.Task[None]] = set()
        parent.on_trial = True
        parent.target = min(max(handover.target, parent.minimum), parent.maximum)

    def start(self) -> None:
        """On the running loop, before the parent starts its workers."""
        loop = asyncio.get_running_loop()
        self._channel.send({"is": "starting", "within": self._parent.config.timeout_worker_start})
        self._channel.watch(loop, self._heard, self._hung_up)
        self._do(self._prove())

    async def _prove(self) -> None:
        while not self._parent.complete:
            await self._parent.wait_changed()
            self._channel.send({"is": "progress"})
        self._channel.send({"is": "prepared"})

    def _heard(self, message: Message) -> None:
        if message["is"] == "begin":
            self._do(self._begin())

    async def _begin(self) -> None:
        if self._begun or self._parent.ending:
            return  # somebody has told this very process to end: it is gone in a moment, and the old one serves on
        self._begun = True
        try:
            self._directory.write_pid()
            closed = self._listeners.begin()
            self._parent.meter.take_over(self._directory.counted)
            self.find()
            if self.begin_control is not None:
                await self.begin_control()
        except (SwellError, OSError) as error:
            # The old one goes on: what it has is not ours to remove.
            self._begun = False
            self._listeners.release()
            self._directory.release()
            self._parent.exit_code = 1
            self._parent.end_now(f"cannot take over, {error}")
            return
        self._parent.begin()
        self._channel.send({"is": "serving", "closed": closed})

    def _hung_up(self) -> None:
        self._channel.close()
        if self._begun:
            self._reporter.start()
        elif not self._parent.ending:
            self._parent.end_now("the server that was to be replaced wants it no more")

    def _do(self, step: Any) -> None:
        task = asyncio.get_running_loop().create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._channel.close()


async def outlive(line: Line) -> int:
    """Waits, on the running loop, until all parents have ended; for programs whose process is not ours to replace.
    Signals are forwarded by the caller."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def look() -> None:
        line.hear()
        line.reap()
        if line.over:
            over.set()

    loop.add_signal_handler(signal.SIGCHLD, look)
    loop.add_reader(line.reports, look)
    look()
    await over.wait()
    loop.remove_reader(line.reports)
    return line.code
