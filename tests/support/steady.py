"""A steady load of real clients beside a test, which proves that nothing is lost: every request has to be answered.

A few hundred requests a second from a thread with an event loop of its own, bounded in time and number; a third of a
core. It depends on nothing that is tested. What is asked and checked is in `steady_clients`, what counts as lost in
`steady_report`; the application is tests/lifecycle/served/subject.py.

    with steady_load(server.address) as load:
        load.wait_answers(100)
        ...                        # reload, scale, kill
        load.wait_answers(100)
    load.report.check()
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.link import Address, Broken, How
from support.steady_clients import Client, Fresh, KeepAlive, Streams, Uploads, WebSockets
from support.steady_report import Report, Request

__all__ = ["Steady", "steady_load"]

PATIENCE = 10.0  # seconds that a request may take before it counts as lost
STEP = 0.005

# How many clients of each kind, and the seconds between two requests of one. Some 330 requests a second together.
MIX: dict[type[Client], tuple[int, float]] = {
    KeepAlive: (8, 0.05),
    Fresh: (4, 0.05),
    Streams: (4, 0.4),
    Uploads: (2, 0.2),
    WebSockets: (8, 0.1),
}


class Steady:
    """A load that runs. `report` grows meanwhile."""

    def __init__(
        self, address: Address, mix: dict[type[Client], tuple[int, float]], seconds: float, most: int, patience: float
    ) -> None:
        self.report = Report()
        self._address = address
        self._mix = mix
        self._seconds = seconds
        self._most = most
        self._patience = patience
        self._overrun = ""
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._main, name="steady load", daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._running.wait(PATIENCE), "the load did not start"

    def stop(self) -> Report:
        """Lets every client finish what it has begun, then gives the complete report."""
        if self._loop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it has ended by itself just now
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(self._patience * 2 + PATIENCE)
        assert not self._thread.is_alive(), f"the load does not stop\n{self.report}"
        if self._error is not None:
            raise self._error
        assert not self._overrun, f"{self._overrun}\n{self.report}"
        return self.report

    def wait(self, condition: Callable[[Report], bool], what: str, seconds: float = 15.0) -> None:
        """Waits until the report shows it."""
        end = time.monotonic() + seconds
        while not condition(self.report):
            assert self._thread.is_alive(), f"the load has ended: {self._error or self._overrun}\n{self.report}"
            assert time.monotonic() < end, f"not within {seconds} s: {what}\n{self.report}"
            time.sleep(STEP)

    def wait_answers(self, count: int, seconds: float = 15.0) -> None:
        """Waits for so many more answers."""
        wanted = self.report.answered + count
        self.wait(lambda report: report.answered >= wanted, f"{count} more answers", seconds)

    def wait_generation(self, generation: int, count: int = 50, seconds: float = 15.0) -> None:
        """Waits until so many of the newest answers in a row are of this generation."""

        def all_new(report: Report) -> bool:
            newest = report.answers[-count:]
            return len(newest) == count and all(answer.generation == generation for answer in newest)

        self.wait(all_new, f"{count} answers in a row of generation {generation}", seconds)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # handed to the test's own thread
            self._error = error
        finally:
            self._running.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        clients: list[tuple[Client, float]] = []
        for kind, (count, interval) in self._mix.items():
            for number in range(count):
                client = kind(self._address, self.report, interval, self._patience)
                clients.append((client, interval * number / count))
        self._running.set()
        try:
            async with asyncio.timeout(self._seconds), asyncio.TaskGroup() as group:
                for client, offset in clients:
                    group.create_task(client.run(self._stop, offset, self._may_go_on))
        except TimeoutError:
            self._overrun = f"the load was cut off after its {self._seconds:g} s"
            for _ in range(self.report.unaccounted):
                request = Request("any", "?")
                self.report.losses.append(self.report.loss(request, Broken(How.ABANDONED), None))

    def _may_go_on(self) -> bool:
        if self.report.started.total() >= self._most:
            self._overrun = f"the load was cut off after its {self._most} requests"
        return not self._overrun


@contextmanager
def steady_load(
    address: Address,
    *,
    mix: dict[type[Client], tuple[int, float]] | None = None,
    seconds: float = 50.0,
    most: int = 50_000,
    patience: float = PATIENCE,
) -> Iterator[Steady]:
    """Runs the load during the block and stops it in order behind it. Judging the report is the caller's."""
    load = Steady(address, MIX if mix is None else mix, seconds, most, patience)
    load.start()
    try:
        yield load
    except BaseException as error:
        error.add_note(f"the load so far:\n{load.report}")
        try:
            load.stop()
        except BaseException as another:  # the first error is the one to show
            error.add_note(f"the load then: {another}")
        raise
    load.stop()
