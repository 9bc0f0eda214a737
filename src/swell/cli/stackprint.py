"""How stacks look in a terminal: shared by `swell dump` and `swell tasks`. Knows no command."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["frame_lines", "innermost", "request_text", "short_path", "worker_query", "worker_word"]

from swell.cli.remote import Asked, Usage
from swell.telemetry.formats import harmless

# Of asyncio and of Swell themselves: where a task waits is told by the frame before.
_MACHINERY = (f"{os.sep}asyncio{os.sep}", f"{os.sep}swell{os.sep}worker{os.sep}", "uvloop/", "<frozen ")


def frame_lines(frames: Iterable[Mapping[str, Any]]) -> list[str]:
    """`file:line in function: code`, one line each."""
    lines = []
    for frame in frames:
        code = f": {frame['code']}" if frame["code"] else ""
        line = f"{short_path(frame['file'])}:{frame['line']} in {frame['function']}{code}"
        lines.append(harmless(line, lines=False))
    return lines


def short_path(path: str) -> str:
    """Relative to here, or from the package on."""
    for marker in ("site-packages/", "dist-packages/"):
        if marker in path:
            return path.rpartition(marker)[2]
    here = os.getcwd() + os.sep
    return path.removeprefix(here)


def innermost(frames: Sequence[Mapping[str, Any]], count: int) -> Sequence[Mapping[str, Any]]:
    """The last few that are not machinery; if all are, the last one."""
    kept = [frame for frame in frames if not any(part in frame["file"] for part in _MACHINERY)]
    return kept[-count:] or frames[-1:]


def request_text(request: Mapping[str, Any] | None) -> str:
    """`GET /x id 0193…`, on one line whatever the path is; empty without one."""
    if request is None:
        return ""
    text = f"{request['method']} {request['path']}" + (f" id {request['id']}" if request["id"] else "")
    return harmless(text, lines=False)


def worker_word(usage: Usage, asked: Asked) -> str:
    """The one argument: the number of a worker, or nothing."""
    if len(asked.words) > 1:
        raise usage.wrong(f"swell {usage.command} takes one worker, not {' '.join(asked.words)}")
    word = asked.words[0] if asked.words else ""
    if word and not (word.isascii() and word.isdigit() and len(word) < 19):
        raise usage.wrong(f"a worker is a number, as `swell status` shows it, not {word}")
    return word


def worker_query(word: str) -> str:
    return f"?worker={word}" if word else ""
