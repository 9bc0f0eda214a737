"""The template process: it imports the application once, and forks a worker whenever the parent asks.

It runs no event loop and starts no thread, so that forking it is safe; an import that does such things makes it unfit,
and it says so. A worker is forked twice, so that it becomes the child of the nearest subreaper, the parent, which
then learns how it ends.

parent → template   {"do": "fork", "worker", "generation", "slot"}, with the worker's descriptors (`_Ends`)
template → parent   {"is": "imported", "seconds"} | {"is": "unfit", "why"} | {"is": "failed", "code"}
                    {"is": "forked", "worker", "pid"} | {"is": "not forked", "worker", "why"}
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from pathlib import Path
from socket import socket
from typing import Any, NamedTuple, NoReturn

from swell.config import Config
from swell.errors import SwellError
from swell.metrics import prometheus
from swell.worker import process
from swell.worker.application import build_application, import_application
from swell.worker.attached import Attachment, Seat, Wiring
from swell.worker.channel import Channel, Message
from swell.worker.main import complain, serve
from swell.worker.probe import Probe
from swell.worker.process import ExitGuard, code_of, dump_stacks_on_request, end_process, flush_output

__all__ = ["run_template"]

# What two processes that share it would fight over: connections, and the descriptors of an event loop.
_UNSHARABLE = (
    "socket:",
    "anon_inode:[eventpoll]",
    "anon_inode:[eventfd]",
    "anon_inode:[timerfd]",
    "anon_inode:[io_uring]",
)


class _Ends(NamedTuple):
    """A worker's descriptors: to talk to the parent, to write stacks into, and for the probe."""

    channel: int
    stacks: int
    probe: int


def run_template(config: Config, wiring: Wiring, channel: Channel) -> NoReturn:
    """Imports, says how it went, forks until the parent closes its end of the channel."""
    process.belongs_to_a_parent = True
    before = _descriptors()
    begun = time.monotonic()
    prometheus.hook()
    try:
        loaded = import_application(config)
    except SwellError as error:
        channel.send({"is": "failed", "code": complain(error)})
        end_process(error.exit_code)
    # An application that was given as an object cannot be imported elsewhere.
    if config.spawn == "auto" and isinstance(config.app, str) and (hazard := _hazard(before)) is not None:
        channel.send({"is": "unfit", "why": hazard})
        end_process(0)
    # What is imported stays in pages that the workers share: the collector is not to touch it.
    gc.collect()
    gc.freeze()
    channel.send({"is": "imported", "seconds": time.monotonic() - begun})
    while True:
        select.select([channel], [], [])
        orders = channel.receive()
        if orders is None:
            end_process(0)
        for order in orders:
            _fork(config, loaded, wiring, channel, order)


def _fork(config: Config, loaded: Any, wiring: Wiring, channel: Channel, order: Message) -> None:
    ends = _Ends(*(channel.descriptors.popleft() for _ in _Ends._fields))
    seat = Seat(order["worker"], order["generation"], order["slot"])
    reading, writing = os.pipe()
    flush_output()
    try:
        between = os.fork()
        if between == 0:
            os.close(reading)
            _fork_again(config, loaded, wiring, channel, seat, ends, writing)
        os.close(writing)
        writing = -1
        said = os.read(reading, 16)
        os.waitpid(between, 0)
        if said:
            channel.send({"is": "forked", "worker": seat.worker, "pid": int(said)})
        else:
            channel.send({"is": "not forked", "worker": seat.worker, "why": "no process could be made"})
    except OSError as error:
        channel.send({"is": "not forked", "worker": seat.worker, "why": error.strerror})
    finally:
        for end in ends:
            os.close(end)
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def _fork_again(
    config: Config, loaded: Any, wiring: Wiring, channel: Channel, seat: Seat, ends: _Ends, writing: int
) -> NoReturn:
    """The process in between: its child is the worker, and nobody's child once this one has ended."""
    try:
        pid = os.fork()
    except OSError:
        os._exit(1)
    if pid != 0:
        try:
            os.write(writing, b"%d" % pid)
        finally:
            # The template may have been ended meanwhile. Nothing of its stack is to run here.
            os._exit(0)
    os.close(writing)
    code = 1
    try:
        channel.close()
        dump_stacks_on_request(ends.stacks)
        _reseed()
        probe = Probe(Channel(socket(fileno=ends.probe)))
        attachment = Attachment(Channel(socket(fileno=ends.channel)), probe, wiring, seat)
        guard = ExitGuard()
        code = serve(config, load=lambda: build_application(config, loaded), attachment=attachment, guard=guard)
    except SystemExit as request:
        code = code_of(request)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    end_process(code)


def _reseed() -> None:
    """Python's own generator is seeded anew after a fork; numpy's would give every worker the same numbers."""
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


def _hazard(before: dict[int, str]) -> str | None:
    """What the import has done that forked workers could not share."""
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"the import of the application started {threads - 1} thread{'s' if threads > 2 else ''}"
    for descriptor, kind in _descriptors().items():
        if before.get(descriptor) != kind and kind.startswith(_UNSHARABLE):
            what = "a socket" if kind.startswith("socket:") else "an event loop or its like"
            return f"the import of the application opened {what}"
    if signal.getsignal(signal.SIGCHLD) not in (signal.SIG_DFL, None):
        return "the import of the application handles SIGCHLD"
    return None


def _descriptors() -> dict[int, str]:
    """Our open descriptors and what they are."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except OSError:
            continue  # the one that listed the directory
    return found
