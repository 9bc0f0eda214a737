"""The screen of `swell top`, driven by keys, on an instance that answers as a real one does."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from support.instance import Running, running, worker
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from swell.cli import main
from swell.cli.top.screen import DecisionsPage, TopApp, WorkerPage
from swell.supervisor.control.client import Client, find

SECONDS = 30.0
Scenario = Callable[[TopApp, "Pilot[None]", Running], Awaitable[None]]


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def driven(root: Path, scenario: Scenario, size: tuple[int, int] = (80, 24), workers: int = 16) -> None:
    """Runs it on the screen of an instance with so many workers."""

    async def run(instance: Running) -> None:
        app = TopApp(Client(find(runtime_dir=str(root), environ={})), 0.1)
        async with app.run_test(size=size) as pilot:
            await until(lambda: ids(app) != [])
            await scenario(app, pilot, instance)

    with running(root) as instance:
        request = {"line": "GET /report", "since_ns": time.monotonic_ns() - 5 * 10**9}
        instance.instance.workers = [
            worker(number + 1, cpu_ns=number, in_flight=number % 3, current=request if number == 4 else None)
            for number in range(workers)
        ]
        instance.instance.decisions = [
            {
                "at": time.time(),
                "before": 1,
                "after": 2,
                "rule": "burst",
                "guard": None,
                "inputs": {},
                "text": "a burst",
            }
        ]
        asyncio.run(run(instance))


def ids(app: TopApp) -> list[int]:
    table = app.query_one("#workers", DataTable)
    return [int(str(table.get_row_at(at)[0])) for at in range(table.row_count)]


def text(app: TopApp, where: str) -> str:
    return str(app.screen.query_one(where, Static).render())


@pytest.mark.parametrize("workers", [1, 16])
@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
def test_everything_is_in_sight(tmp_path: Path, size: tuple[int, int], workers: int) -> None:
    async def scenario(app: TopApp, pilot: Pilot[None], instance: Running) -> None:
        assert ids(app) == list(range(1, workers + 1))
        table = app.query_one("#workers", DataTable)
        await until(lambda: table.size.height >= min(workers, 16) + 1)
        assert table.virtual_size.width <= size[0]
        assert "main-8000 running" in text(app, "#header")
        await until(lambda: "a burst" in text(app, "#decisions"))

    driven(tmp_path, scenario, size, workers)


def test_sorting_and_filtering(tmp_path: Path) -> None:
    async def scenario(app: TopApp, pilot: Pilot[None], instance: Running) -> None:
        await pilot.press("r")
        await until(lambda: ids(app) == list(range(16, 0, -1)))
        await pilot.press("slash", *"report")
        await until(lambda: ids(app) == [5])
        await pilot.press("enter")
        assert ids(app) == [5]
        await pilot.press("slash", "escape")
        await until(lambda: len(ids(app)) == 16)

    driven(tmp_path, scenario)


def test_a_worker_and_the_decisions_have_pages(tmp_path: Path) -> None:
    async def scenario(app: TopApp, pilot: Pilot[None], instance: Running) -> None:
        await pilot.press("down", "enter")
        await until(lambda: isinstance(app.screen, WorkerPage))
        await until(lambda: "1 tasks" in text(app, "#page"))
        assert ("tasks", 2) in instance.instance.calls
        await pilot.press("q")
        await until(lambda: not isinstance(app.screen, WorkerPage))
        await pilot.press("l")
        await until(lambda: isinstance(app.screen, DecisionsPage))
        await until(lambda: "1 -> 2  a burst" in text(app, "#page"))
        await pilot.press("escape", "q")
        await until(lambda: not app.is_running)

    driven(tmp_path, scenario)


def test_what_comes_after_the_end_is_not_shown(tmp_path: Path) -> None:
    seen: list[TopApp] = []

    async def scenario(app: TopApp, pilot: Pilot[None], instance: Running) -> None:
        seen.append(app)

    driven(tmp_path, scenario)
    (app,) = seen
    assert app._overview is not None
    app._take(app._overview)  # a thread has asked for it before
    app._silent("nobody answers")


def test_space_stops_the_picture(tmp_path: Path) -> None:
    async def scenario(app: TopApp, pilot: Pilot[None], instance: Running) -> None:
        await pilot.press("space")
        await until(lambda: "stopped" in text(app, "#header"))
        instance.instance.workers = instance.instance.workers[:3]
        await pilot.press("space")
        await until(lambda: ids(app) == [1, 2, 3])

    driven(tmp_path, scenario)


def test_without_textual_the_way_to_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path):
        place = ["--runtime-dir", str(tmp_path)]
        assert main(["top", *place]) == 2  # no terminal
        assert "--once prints one picture" in capsys.readouterr().err
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setitem(sys.modules, "textual", None)
        monkeypatch.delitem(sys.modules, "swell.cli.top.screen")
        assert main(["top", *place]) == 1
        assert "pip install 'swell[top]'" in capsys.readouterr().err
        assert main(["top", "--once", *place]) == 0
        assert "main-8000 running" in capsys.readouterr().out
        assert main(["top", "--json", *place]) == 0
        assert '"name": "main-8000"' in capsys.readouterr().out


def test_one_picture_in_a_pipe_is_not_cut(tmp_path: Path) -> None:
    target = "/" + "a" * 150
    with running(tmp_path) as instance:
        busy = instance.instance.workers[0]
        busy["current"] = {"line": f"GET {target}", "since_ns": time.monotonic_ns()}

        def picture(**variables: str) -> str:
            environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
            command = [sys.executable, "-m", "swell", "top", "--once", "--runtime-dir", str(tmp_path)]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, timeout=SECONDS, check=True, env={**environ, **variables}
            )
            return done.stdout

        assert f"GET {target}\n" in picture()
        assert max(map(len, picture(COLUMNS="90").splitlines())) == 90
