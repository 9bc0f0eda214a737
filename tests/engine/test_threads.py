"""An engine belongs to the thread of its event loop; its last reference may go anywhere, as with any Python object."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from contextvars import copy_context
from typing import Any

import pytest

from swell._core import Engine
from swell.config import Config
from swell.worker.settings import EngineSettings


async def app(scope: Any, receive: Any, send: Any) -> None: ...


async def engine(*, closed: bool) -> Engine:
    settings = EngineSettings.of(Config.make(app, lifespan="off"))
    made = Engine(settings, asyncio.get_running_loop(), app, state=None, context=copy_context(), report=lambda *_: None)
    if closed:
        made.close()
    return made


def elsewhere(act: Any) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


@pytest.mark.parametrize("closed", [True, False])
def test_the_garbage_collector_of_any_thread_may_take_an_engine(closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    cycle: list[Any] = [asyncio.run(engine(closed=closed))]
    cycle.append(cycle)
    del cycle
    elsewhere(gc.collect)
    assert complaints == []


def test_another_thread_is_refused() -> None:
    made = asyncio.run(engine(closed=False))
    errors: list[BaseException] = []

    def act() -> None:
        try:
            made.turn()
        except RuntimeError as error:
            errors.append(error)

    elsewhere(act)
    made.close()
    assert [str(error) for error in errors] == ["the engine belongs to the thread of its event loop"]
