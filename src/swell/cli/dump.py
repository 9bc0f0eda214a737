"""`swell dump`: the stacks of all threads of a worker, also of one that hangs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from swell.cli.remote import Usage, parse
from swell.cli.stackprint import frame_lines, request_text, worker_query, worker_word
from swell.cli.terminal import emit
from swell.telemetry.formats import harmless

__all__ = ["SUMMARY", "main"]

SUMMARY = "print the stacks of all threads of a worker"

_USAGE = Usage(
    "dump",
    """\
usage: swell dump [WORKER] [options]

Prints the stack of every thread of a worker, the innermost frame last, and what the kernel says of its threads. The
worker goes on. It need not be well: a thread beside the event loop answers, and where native code lets no Python run,
the stacks are written from below the interpreter. WORKER is its number in `swell status`; without it, the only
worker.""",
    {"--json": "Print the document."},
)


def main(argv: Sequence[str]) -> int:
    """0 when there are stacks."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    word = worker_word(_USAGE, asked)
    document = asked.client().get(f"/v1/dump{worker_query(word)}")
    emit(json.dumps(document, indent=2) if "--json" in asked.options else _text(document))
    return 0 if document["threads"] or document["raw"] else 1


def _text(document: Mapping[str, Any]) -> str:
    lines = [f"worker {document['worker']} (pid {document['pid']}), {document['state']}"]
    for thread in document["threads"]:
        notes = [thread["name"]]
        if request := request_text(thread["request"]):
            notes.append(f"serves {request}")
        if thread["task"]:
            notes.append(f"runs task {thread['task']}")
        if thread["is_probe"]:
            notes.append("the one that answers")
        lines += ["", harmless(f"thread {thread['thread_id']}: {', '.join(notes)}", lines=False)]
        lines += [f"  {line}" for line in frame_lines(thread["stack"])]
    if document["left_out"]:
        lines += ["", f"{document['left_out']} more threads"]
    if document["raw"]:
        lines += ["", "Python does not run: written from below the interpreter, the innermost frame first."]
        lines += ["", document["raw"]]
    elif not document["threads"]:
        lines += ["", "no stacks: it does not even take signals, because its process is stopped or in the kernel"]
    if document["native"]:
        lines += ["", "threads, as the kernel has them:"]
        for thread in document["native"]:
            cpu = thread["cpu_seconds"]
            lines.append(f"  {thread['thread_id']:>7}  {thread['name']:<16} {cpu:>9.2f} s CPU  {thread['does']}")
    return "\n".join(lines)
