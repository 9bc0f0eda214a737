"""`swell tasks`: every asyncio task of a worker, as a tree of who waits for whom."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swell.cli.figures import short_seconds
from swell.cli.remote import Usage, parse
from swell.cli.stackprint import frame_lines, innermost, request_text, worker_query, worker_word
from swell.cli.terminal import emit
from swell.telemetry.formats import harmless

__all__ = ["SUMMARY", "main", "tree"]

SUMMARY = "show the asyncio tasks of a worker and where they wait"

_USAGE = Usage(
    "tasks",
    """\
usage: swell tasks [WORKER] [options]

Shows every asyncio task of a worker: its request, for how long that has been running, and where the task waits. A task
that waits for others (by await, gather, wait, a task group) stands above them. WORKER is its number in `swell status`;
without it, the only worker.""",
    {
        "--full": "Whole stacks instead of the innermost three lines of the application's.",
        "--json": "Print the document.",
    },
)

Task = Mapping[str, Any]
LINES = 3


def main(argv: Sequence[str]) -> int:
    """0 when the worker has answered."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    word = worker_word(_USAGE, asked)
    document = asked.client().get(f"/v1/tasks{worker_query(word)}")
    emit(json.dumps(document, indent=2) if "--json" in asked.options else _text(document, "--full" in asked.options))
    return 0


def _text(document: Mapping[str, Any], full: bool) -> str:
    number = len(document["tasks"]) + document["left_out"]
    lines = [f"worker {document['worker']} (pid {document['pid']}): {number} task{'' if number == 1 else 's'}"]
    if not document["answered"]:
        lines.append("its event loop does not answer: how old the tasks are is not known")
    lines += tree(document["tasks"], full=full)
    if document["left_out"]:
        lines += ["", f"{document['left_out']} more tasks"]
    return "\n".join(lines)


def tree(tasks: Sequence[Task], *, full: bool = False) -> list[str]:
    """Requests first, the oldest at the top; then what stands by itself."""
    known = {task["id"]: task for task in tasks}
    children: dict[int, list[Task]] = {}
    roots = []
    for task in tasks:
        parents = [one for one in task["awaited_by"] if one in known]
        if parents:
            children.setdefault(parents[0], []).append(task)
        else:
            roots.append(task)
    shown: set[int] = set()
    lines: list[str] = []
    for task in sorted(roots, key=lambda task: (task["request"] is None, -(task["age"] or 0))):
        lines += ["", *_branch(task, children, shown, full)]
    for task in tasks:  # tasks that wait for each other in a circle have no root
        if task["id"] not in shown:
            lines += ["", *_branch(task, children, shown, full)]
    return lines


def _branch(task: Task, children: Mapping[int, list[Task]], shown: set[int], full: bool) -> Iterator[str]:
    shown.add(task["id"])
    request = request_text(task["request"])
    age = "" if task["age"] is None else f" for {short_seconds(task['age'])}"
    about = f"{task['name']} {task['state']}{age}"
    yield harmless(f"{request}  {about}" if request else f"{about}: {task['coroutine']}", lines=False)
    below = [child for child in children.get(task["id"], ()) if child["id"] not in shown]
    frames = task["stack"] if full else innermost(task["stack"], LINES)
    for line in frame_lines(frames):
        yield f"{'│' if below else ' '} {line}"
    for at, child in enumerate(below):
        if child["id"] in shown:
            continue
        last = at == len(below) - 1
        for number, line in enumerate(_branch(child, children, shown, full)):
            head = ("└─ " if last else "├─ ") if number == 0 else ("   " if last else "│  ")
            yield head + line
