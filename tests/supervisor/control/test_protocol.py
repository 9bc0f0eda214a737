"""The documents have the shapes that are promised, and the check of the shapes finds what differs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.documents import problems
from support.instance import FakeInstance, worker

from swell.supervisor.control.protocol import Explanation, Status, WorkerStatus

PAGE = Path(__file__).parents[3] / "docs" / "commands.md"


def test_the_status_of_the_page_is_one() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    document = json.loads(example)
    assert list(problems(document, Status)) == []
    known = set(WorkerStatus.__annotations__)
    assert set(document["workers"][0]) == known


def test_the_status_of_the_tests_instance_is_one() -> None:
    instance = FakeInstance()
    assert list(problems(json.loads(json.dumps(instance.status())), Status)) == []
    assert list(problems(instance.explain(1), Explanation)) == []
    decision = {"at": 1, "before": 1, "after": 2, "rule": "x", "guard": None, "inputs": {}, "text": "y"}
    assert list(problems({"now": "", "decisions": [decision]}, Explanation)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": "1"}, "$.workers[0].id is no int: '1'"),
        ({"pid": True}, "$.workers[0].pid is no int: True"),
        ({"state": "idle"}, "$.workers[0].state is none of"),
        ({"age": None}, "$.workers[0].age is no float: None"),
        ({"latency": [1.5]}, "$.workers[0].latency[0] is no int: 1.5"),
        ({"current": {"line": "GET /"}}, "$.workers[0].current is no "),
        ({"waiting": {}}, "$.workers[0].waiting is not an array: {}"),
    ],
)
def test_what_differs_is_found(change: dict[str, Any], problem: str) -> None:
    status = FakeInstance().status()
    status["workers"] = [worker(1, **change)]
    (found,) = problems(status, Status)
    assert found.startswith(problem)


def test_what_is_missing_is_found() -> None:
    status = FakeInstance().status()
    del status["instance"]["target"], status["workers"][1]["rss_bytes"]
    assert list(problems(status, Status)) == ["$.instance has no target", "$.workers[1] has no rss_bytes"]
    assert list(problems([], Status)) == ["$ is not an object: []"]
