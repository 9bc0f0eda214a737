"""What a worker says of its thread pools and its garbage collector."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvloop

from swell.worker.pools import Pools

SECONDS = 20.0
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


class Board:
    """What was noted last."""

    def __init__(self) -> None:
        self.figures: dict[str, int] = {}
        self._noted = asyncio.Event()

    def note(self, **figures: int) -> None:
        self.figures = figures
        self._noted.set()

    @property
    def pool(self) -> tuple[int, int, int]:
        size, busy, waiting = (self.figures.get(f"pool_{name}", 0) for name in ("size", "busy", "waiting"))
        return size, busy, waiting

    async def wait(self, wanted: Callable[[tuple[int, int, int]], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not wanted(self.pool):
                self._noted.clear()
                await self._noted.wait()

    async def wait_pool(self, size: int, busy: int, waiting: int) -> None:
        try:
            await self.wait(lambda pool: pool == (size, busy, waiting))
        except TimeoutError:
            pytest.fail(f"{self.pool} is not {(size, busy, waiting)}")


@asynccontextmanager
async def looking() -> AsyncIterator[tuple[Board, Pools]]:
    board = Board()
    pools = Pools(board.note)
    pools.start(asyncio.get_running_loop())
    try:
        yield board, pools
    finally:
        pools.stop()


@contextmanager
def gate() -> Any:
    """A call that blocks its thread until the block ends."""
    opened = threading.Event()

    def call() -> bool:
        return opened.wait(SECONDS)

    try:
        yield call
    finally:
        opened.set()


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    def run(coroutine: Any) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(coroutine)

    return run


def test_the_executor_of_the_loop(run: Callable[[Any], None]) -> None:
    async def main() -> None:
        async with looking() as (board, _):
            loop = asyncio.get_running_loop()
            with gate() as call:
                calls = [loop.run_in_executor(None, call)]
                await board.wait(lambda pool: pool[0] > 0)
                size, busy, waiting = board.pool
                assert (busy, waiting) == (1, 0)
                calls += [loop.run_in_executor(None, call) for _ in range(size + 2)]
                await board.wait_pool(size, size, 3)
            await asyncio.gather(*calls)
            # Of two pools at rest the larger one is told of, and something else may have used anyio's.
            await board.wait(lambda pool: pool[1:] == (0, 0))

    run(main())


def test_threads_that_go_on_with_the_queue_are_not_idle(run: Callable[[Any], None]) -> None:
    """Up to Python 3.12 the executor's own counter of idle threads says that they are."""

    async def main() -> None:
        async with looking() as (board, _):
            loop = asyncio.get_running_loop()
            loop.set_default_executor(executor := ThreadPoolExecutor(2))
            if not hasattr(loop, "_default_executor"):
                pytest.skip("uvloop does not show an executor that the application has set")
            await asyncio.gather(*(loop.run_in_executor(None, int) for _ in range(20)))
            with gate() as call:
                calls = [loop.run_in_executor(None, call) for _ in range(3)]
                await board.wait_pool(2, 2, 1)
            await asyncio.gather(*calls)
            executor.shutdown()

    run(main())


def test_the_limiter_of_anyio(run: Callable[[Any], None]) -> None:
    from anyio.to_thread import current_default_thread_limiter, run_sync

    async def main() -> None:
        async with looking() as (board, _):
            current_default_thread_limiter().total_tokens = 3
            with gate() as call:
                calls = [asyncio.ensure_future(run_sync(call)) for _ in range(5)]
                await board.wait_pool(3, 3, 2)
            await asyncio.gather(*calls)
            await board.wait(lambda pool: pool[1:] == (0, 0))

    run(main())


def test_the_thread_that_asgiref_shares(run: Callable[[Any], None]) -> None:
    from asgiref.sync import sync_to_async

    async def main() -> None:
        async with looking() as (board, _):
            with gate() as call:
                calls = [asyncio.ensure_future(sync_to_async(call)()) for _ in range(3)]
                await board.wait_pool(1, 1, 2)
            await asyncio.gather(*calls)

    run(main())


def test_the_fullest_pool_is_told_of(run: Callable[[Any], None]) -> None:
    async def main() -> None:
        async with looking() as (board, pools):
            wsgi = ThreadPoolExecutor(2)
            pools.add(wsgi)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, int)
            with gate() as call:
                calls = [loop.run_in_executor(wsgi, call) for _ in range(3)]
                await board.wait_pool(2, 2, 1)
            await asyncio.gather(*calls)
            wsgi.shutdown()

    run(main())


def test_an_application_that_uses_no_threads_has_no_pool(run: Callable[[Any], None]) -> None:
    async def main() -> None:
        async with looking() as (board, _):
            gc.collect()
            await board.wait(lambda pool: bool(board.figures))
            assert board.pool[1:] == (0, 0)
            assert board.figures["gc_pauses"] >= 1
            assert 0 < board.figures["gc_pause_ns"] < SECONDS * 1e9

    run(main())


def test_an_application_may_bring_its_own_executor(run: Callable[[Any], None]) -> None:
    async def main() -> None:
        async with looking():
            own = ThreadPoolExecutor(1, thread_name_prefix="own")
            loop = asyncio.get_running_loop()
            loop.set_default_executor(own)
            name = await asyncio.to_thread(lambda: threading.current_thread().name)
            assert name.startswith("own")

    run(main())


def test_nothing_is_left_behind(run: Callable[[Any], None]) -> None:
    async def main() -> None:
        before = list(gc.callbacks)
        async with looking():
            assert len(gc.callbacks) == len(before) + 1
        assert gc.callbacks == before

    run(main())
