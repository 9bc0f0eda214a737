"""The tree of `swell tasks`: who stands below whom, whatever the document says."""

from __future__ import annotations

from typing import Any

from swell.cli.tasks import tree


def task(number: int, *parents: int, request: str = "", **values: Any) -> dict[str, Any]:
    described = {"id": None, "type": "http", "method": "GET", "path": request} if request else None
    return {
        "id": number,
        "name": f"Task-{number}",
        "state": "waiting",
        "request": described,
        "age": None,
        "awaited_by": list(parents),
        "coroutine": "work",
        "stack": [{"file": "/x/app.py", "line": number, "function": "work", "code": "await it"}],
        **values,
    }


def test_requests_come_first_and_children_below() -> None:
    lines = tree([task(1), task(2, request="/new", age=1.0), task(3, request="/old", age=9.0), task(4, 3), task(5, 4)])
    heads = [line for line in lines if "Task-" in line]
    assert heads == [
        "GET /old  Task-3 waiting for 9.0s",
        "└─ Task-4 waiting: work",
        "   └─ Task-5 waiting: work",
        "GET /new  Task-2 waiting for 1.0s",
        "Task-1 waiting: work",
    ]


def test_a_path_stays_on_its_line_and_steers_nothing() -> None:
    """The path is what a client has sent, percent-decoded."""
    lines = tree([task(1, request="/\x1b[2J\n\x9b0mGET /forged")])
    assert lines[1] == r"GET /\u001b[2J\u000a\u009b0mGET /forged  Task-1 waiting"


def test_who_waits_in_a_circle_is_shown_once() -> None:
    lines = tree([task(1, 2), task(2, 1), task(3, 99)])
    assert [line.split()[-3] for line in lines if "work" in line and "Task" in line] == ["Task-3", "Task-1", "Task-2"]


def test_machinery_is_left_out_unless_asked_for() -> None:
    frame = {"file": "/usr/lib/python3.11/asyncio/locks.py", "line": 1, "function": "wait", "code": "await fut"}
    one = task(1)
    one["stack"] = [*one["stack"], frame]
    assert not any("locks.py" in line for line in tree([one]))
    assert any("locks.py" in line for line in tree([one], full=True))
    one["stack"] = [frame]
    assert any("locks.py" in line for line in tree([one]))
