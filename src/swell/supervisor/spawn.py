"""Where workers come from: a template process that forks them, or a fresh interpreter each.

`Template` is the parent's side of `swell.worker.template`; `start_fresh` starts `swell.worker.child`. Used by the
parent.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from socket import socket

from swell.config import Config
from swell.supervisor.crash import describe_end
from swell.supervisor.reaper import Reaper, start_process
from swell.supervisor.witness import Stacks, indented
from swell.worker.attached import Seat, Wiring
from swell.worker.channel import Channel, Message
from swell.worker.child import Parcel
from swell.worker.process import (
    LEFT_TO_THE_PARENT,
    dump_stacks_on_request,
    flush_output,
    leave_signals_to_the_parent,
)
from swell.worker.template import run_template
from swell.worker.tls import unnamed_file

__all__ = ["Template", "TemplateFailed", "Unfit", "can_fork_here", "python_module", "start_fresh"]


# A process that was killed is gone within this time, in seconds, unless the kernel holds it.
END_SECONDS = 2.0


class TemplateFailed(Exception):  # noqa: N818 - it says what happened
    """The application could not be imported. `code` is the exit code that says so; `told` when the process that tried
    has printed why."""

    def __init__(self, code: int, text: str, *, told: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.told = told


class Unfit(Exception):  # noqa: N818 - it says what happened
    """The application can be imported, but what the import does must not be forked."""


def can_fork_here() -> bool:
    """Whether this very process may be forked: it has one thread."""
    with contextlib.suppress(OSError):
        return sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1
    return False


def _forget_exit_handlers() -> None:
    """What a program has registered is for its own end: a worker is not to remove its temporary files."""
    atexit._clear()
    atexit.register(logging.shutdown)


class Template:
    """One template process. `wait_imported` first, then `fork`."""

    def __init__(self, pid: int, channel: Channel, stacks: Stacks, since: float) -> None:
        """`since` is a moment before its start, on the monotonic clock."""
        self.pid = pid
        self.stacks = stacks
        self.alive = True
        self.seconds = 0.0
        self._started = since
        self._end = asyncio.Event()
        self._channel = channel
        self._closing = False
        self._imported: asyncio.Future[None] | None = None
        self._forking: dict[int, Callable[[int | None, str], None]] = {}

    @classmethod
    def forked(cls, config: Config, wiring: Wiring, ours: Sequence[socket]) -> Template:
        """A fork of this process, which runs no loop and no thread yet. `ours` are sockets that it is not to keep."""
        since = time.monotonic()
        channel, end = Channel.pair()
        stacks = Stacks()
        flush_output()
        pid = os.fork()
        if pid == 0:
            # The stack above us may be a program's that has called `swell.run`: nothing of it is to run here again.
            try:
                channel.close()
                for one in ours:
                    one.close()
                _forget_exit_handlers()
                dump_stacks_on_request(stacks.fileno())
                leave_signals_to_the_parent()
                run_template(config, wiring, Channel(end))
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(1)
        end.close()
        return cls(pid, channel, stacks, since)

    @classmethod
    def executed(cls, config: Config, wiring: Wiring) -> Template:
        """A fresh interpreter, which sees the code as it is now. Raises `TemplateFailed` if there is no room for it."""
        since = time.monotonic()
        try:
            with contextlib.ExitStack() as undo:
                channel, end = Channel.pair()
                undo.callback(channel.close)
                with end:
                    stacks = Stacks()
                    undo.callback(stacks.close)
                    pid = _start(config, wiring, "template", (end.fileno(), stacks.fileno()))
                undo.pop_all()
        except OSError as error:
            text = f"no process can be started that imports the application: {error.strerror or error}"
            raise TemplateFailed(1, text) from None
        return cls(pid, channel, stacks, since)

    async def wait_imported(self, loop: asyncio.AbstractEventLoop, reaper: Reaper, seconds: float) -> None:
        """Waits until the application is imported. Raises `TemplateFailed`, `Unfit`."""
        self._imported = loop.create_future()
        self._channel.watch(loop, self._heard, lambda: None)
        reaper.expect(self.pid, self._ended, self._started)  # it may have ended before
        try:
            async with asyncio.timeout(seconds):
                await self._imported
        except TimeoutError:
            where = indented(await self.stacks.dump(self.pid))
            text = f"the import of the application did not end within {seconds:g} s (--timeout-worker-start)"
            raise TemplateFailed(3, f"{text}\n{where}".rstrip()) from None

    def fork(self, seat: Seat, ends: Sequence[int], done: Callable[[int | None, str], None]) -> None:
        """Asks for a worker, which is given `ends`: of its channel, for its stacks, of its probe. `done` is called with
        its pid, or with None and the reason why there is none."""
        self._forking[seat.worker] = done
        order = {"do": "fork", "worker": seat.worker, "generation": seat.generation, "slot": seat.slot}
        if not self._channel.send(order, ends):
            self._answer(seat.worker, None, "the template process has ended")

    async def wait_ended(self) -> None:
        """Ends it and waits until it has ended, for a moment at most."""
        self.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._end.wait()

    def close(self) -> None:
        """Ends it. It has nothing to lose: it serves nobody, and what the application registered is for the workers.
        One that forks is given a moment to say whom: else there would be a worker that nobody knows."""
        if self._forking and self.alive:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # the parent ends by an error
                pass
            else:
                if not self._closing:
                    self._closing = True
                    loop.call_later(END_SECONDS, self.kill)
                return
        self.kill()

    def kill(self) -> None:
        """Ends it now. Workers that it was to fork and has not told of are not."""
        self._channel.close()
        self.stacks.close()
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _heard(self, message: Message) -> None:
        imported = self._imported
        match message["is"]:
            case "imported":
                self.seconds = message["seconds"]
                if imported is not None and not imported.done():
                    imported.set_result(None)
            case "failed":
                self._fail(TemplateFailed(message["code"], "the application could not be loaded", told=True))
            case "unfit":
                self._fail(Unfit(message["why"]))
            case "forked":
                self._answer(message["worker"], message["pid"], "")
            case "not forked":
                self._answer(message["worker"], None, message["why"])

    def _fail(self, error: Exception) -> None:
        if self._imported is not None and not self._imported.done():
            self._imported.set_exception(error)

    def _answer(self, worker: int, pid: int | None, why: str) -> None:
        if (done := self._forking.pop(worker, None)) is not None:
            done(pid, why)
        if self._closing and not self._forking:
            self.kill()

    def _ended(self, status: int) -> None:
        self.alive = False
        self._end.set()
        # Its last words may still be in the channel.
        for message in self._channel.receive() or ():
            self._heard(message)
        where = indented(self.stacks.read())
        text = f"the process that imports the application has died: {describe_end(status)}"
        self._fail(TemplateFailed(3, f"{text}\n{where}".rstrip()))
        for worker in list(self._forking):
            self._answer(worker, None, "the template process has died")
        self._channel.close()
        self.stacks.close()


def start_fresh(config: Config, wiring: Wiring, seat: Seat, ends: Sequence[int]) -> int:
    """Starts a worker in an interpreter of its own, with `ends` as for `Template.fork`. Returns its pid."""
    return _start(config, wiring, "worker", ends, seat.worker, seat.generation, seat.slot)


def _start(config: Config, wiring: Wiring, role: str, ends: Sequence[int], *numbers: int) -> int:
    # In memory: the disk may be full, or nothing may be written to it.
    parcel = unnamed_file(pickle.dumps(Parcel(config, sys.argv, sys.path, wiring)))
    try:
        os.lseek(parcel, 0, os.SEEK_SET)
        command = python_module("swell.worker.child", *map(str, (role, parcel, *ends, *numbers)))
        # A new interpreter would die of them before a line of ours runs, and loudly; it inherits that they are blocked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_THE_PARENT)
        try:
            return start_process(command, (parcel, *ends, *wiring.descriptors))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    finally:
        os.close(parcel)


def python_module(name: str, *words: str, options: Sequence[str] = ()) -> list[str]:
    """The command that runs a module of Swell in a fresh interpreter with the options of this one, and `options`."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    # -P: the current directory is not to lead the import path while Swell itself is imported.
    return [sys.executable, *flags, *options, "-P", "-m", name, *words]
