"""One order, run by a process of its own (`client`): the library that talks to the authority and everything that it
imports are gone with it, and what hangs is ended.

The two talk over a channel: the request, then what came of it. Knows nothing of when and what for. Called by `keeper`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from socket import socket

from swell.supervisor.acme.schedule import Fault
from swell.supervisor.acme.state import Account
from swell.supervisor.crash import describe_end
from swell.supervisor.reaper import Reaper, start_process
from swell.supervisor.spawn import python_module
from swell.worker.channel import Channel, Message
from swell.worker.tls import Challenge

__all__ = ["Issued", "Order", "OrderFailed", "Shown", "run"]

# The authority gets 90 s for its decision (`client`), and is asked about ten times around it.
ORDER_SECONDS = 240.0
END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """A certificate for `name` from the authority at `directory`; `kind` is how it is to look at us."""

    directory: str
    authorities: str
    email: str
    account: Account | None
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Issued:
    """`pem` is the certificate, its chain and its key. Unix times."""

    pem: str
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What the authority is to find."""

    challenges: tuple[Challenge, ...] = ()
    answers: tuple[tuple[str, str], ...] = ()


class OrderFailed(Exception):  # noqa: N818 - it says what happened
    """In the authority's words, if it had any. `asked` is how long it wants us to wait, in seconds."""

    def __init__(self, text: str, fault: Fault, asked: float = 0.0) -> None:
        super().__init__(text)
        self.fault = fault
        self.asked = asked


async def run(
    order: Order, reaper: Reaper, show: Callable[[Shown], Awaitable[None]], known: Callable[[Account], None]
) -> Issued:
    """Calls `show` when the authority is about to look, `known` with a new account. Raises `OrderFailed`."""
    since = time.monotonic()
    channel, end = Channel.pair()
    try:
        with end:
            pid = _start(order, end)
    except OSError as error:
        channel.close()
        raise OrderFailed(f"no process could be started: {error.strerror or error}", Fault.UNREACHABLE) from None
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()
    reaper.expect(pid, ended.set_result, since)
    heard: asyncio.Queue[Message | None] = asyncio.Queue()
    channel.watch(loop, heard.put_nowait, lambda: heard.put_nowait(None))
    try:
        channel.send(dataclasses.asdict(order))
        async with asyncio.timeout(ORDER_SECONDS):
            while (message := await heard.get()) is not None:
                match message["is"]:
                    case "account":
                        known(Account(message["key"], message["uri"], message["email"]))
                    case "challenge":
                        await show(_shown(order.name, message))
                        channel.send({"do": "go on"})
                    case "issued":
                        return Issued(message["pem"], message["not_before"], message["not_after"])
                    case "failed":
                        raise OrderFailed(message["text"], Fault(message["fault"]), message["asked"])
        # It has hung up, so it is about to end, if it has not.
        await asyncio.wait((ended,), timeout=END_SECONDS)
        died_of = describe_end(ended.result() if ended.done() else None)
        raise OrderFailed(f"the process that talks to the authority has ended: {died_of}", Fault.REFUSED)
    except TimeoutError:
        raise OrderFailed(f"the order was not done within {ORDER_SECONDS:g} s", Fault.UNREACHABLE) from None
    finally:
        channel.close()
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _start(order: Order, end: socket) -> int:
    command = python_module("swell.supervisor.acme.client", str(end.fileno()), options=("-W", "ignore"))
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": order.authorities} if order.authorities else None
    return start_process(command, (end.fileno(),), stdin=subprocess.DEVNULL, env=environment)


def _shown(name: str, message: Message) -> Shown:
    if "path" in message:
        return Shown(answers=((message["path"], message["text"]),))
    return Shown(challenges=(Challenge(name, message["certificate"].encode(), message["key"].encode()),))
