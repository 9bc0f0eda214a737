"""The hottest functions of a profile, and profiles from the text that py-spy and others write. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Hot", "from_raw", "hottest", "summary", "trimmed"]

_LOOP = ("asyncio/runners.py", "asyncio/base_events.py", "asyncio/events.py")
_FRAME = re.compile(r"(.*) \((.*?)(?::(\d+))?\)")


@dataclass(frozen=True, slots=True)
class Hot:
    """`own`: in the function itself; `total`: in what it calls, too, however often it stands in a stack."""

    function: str
    file: str
    line: int
    own: int
    total: int


def hottest(document: Mapping[str, Any], count: int = 30) -> list[Hot]:
    """By what they spend themselves."""
    frames = document["frames"]
    own, total = [0] * len(frames), [0] * len(frames)
    for number, stack in document["stacks"]:
        own[stack[-1]] += number
        for place in set(stack):
            total[place] += number
    order = sorted(range(len(frames)), key=lambda place: (-own[place], -total[place]))
    chosen = ((*frames[place], own[place], total[place]) for place in order[:count] if own[place])
    return [Hot(function, file, line, its, all_) for function, file, line, its, all_ in chosen]


def summary(document: Mapping[str, Any]) -> str:
    """How much was seen, by what, and what the look itself has cost."""
    total = sum(number for number, _ in document["stacks"])
    how = f"by {document['sampler']} in {document['seconds']:.1f} s"
    if document["unit"] == "bytes":
        return f"{_size(total)} allocated and still there, {how} (peak {_size(document['peak'])})"
    parts = [f"{total} samples {how}, {document['hz']} a second wanted"]
    if "looks" in document:
        parts.append(f"{document['looks']} looks, idle in {document['idle']}")
        parts.append(f"the sampler itself used {document['cpu_seconds'] / document['seconds']:.1%} of a core")
    return "; ".join(parts)


def _size(count: int) -> str:
    return f"{count / 1024:.0f} KiB" if count < 10 << 20 else f"{count / (1 << 20):.0f} MiB"


def trimmed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without the frames that lead to the event loop and through it, which are the same everywhere."""
    frames = document["frames"]
    loop = {place for place, (_, file, _) in enumerate(frames) if file.endswith(_LOOP)}
    labels = {place for place, (_, file, _) in enumerate(frames) if not file}
    stacks = []
    for count, stack in document["stacks"]:
        inner = max((at for at, place in enumerate(stack[:-1]) if place in loop), default=-1)
        stacks.append([count, [place for place in stack[: inner + 1] if place in labels] + stack[inner + 1 :]])
    return {**document, "stacks": stacks}


def from_raw(lines: Iterable[str]) -> dict[str, Any]:
    """Of lines such as `main (app.py:3);work (app.py:9) 12`: collapsed stacks, as flamegraph.pl reads them."""
    places: dict[tuple[str, str, int], int] = {}
    stacks = []
    for line in lines:
        text, _, number = line.rstrip().rpartition(" ")
        if not number.isdecimal():
            continue
        stack = []
        for part in text.split(";"):
            match = _FRAME.fullmatch(part)
            frame = (match[1], match[2], int(match[3] or 0)) if match else (part, "", 0)
            stack.append(places.setdefault(frame, len(places)))
        stacks.append([int(number), stack])
    return {"unit": "samples", "frames": [list(frame) for frame in places], "stacks": stacks, "lines": []}
