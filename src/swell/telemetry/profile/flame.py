"""A profile as a page of HTML: a flame graph that can be searched and zoomed into, and the table of hot functions.

One file without anything from elsewhere, for any browser, offline, dark and light, usable by keyboard. Text from the
profile is put in as text, never as markup.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from swell.telemetry.profile.table import hottest

__all__ = ["flame"]

# Narrower than this share of the whole, a branch is left out: it could not be seen.
SHARE_MIN = 0.0005


def flame(document: Mapping[str, Any], title: str) -> str:
    """The page."""
    data = {
        "unit": document["unit"],
        "root": _tree(document),
        "hot": [[hot.function, hot.file, hot.line, hot.own, hot.total] for hot in hottest(document, 50)],
        "lines": document.get("lines", []),
    }
    # Inside of a script element, only this could end it or begin a comment.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    page = files("swell.telemetry.profile").joinpath("page.html").read_text(encoding="utf-8")
    return page.replace("{{title}}", html.escape(title)).replace("{{data}}", text)


def _tree(document: Mapping[str, Any]) -> list[Any]:
    """[name, place, count, children], the largest child first."""
    root: dict[str, Any] = {"count": 0, "below": {}}
    for count, stack in document["stacks"]:
        node = root
        node["count"] += count
        for place in stack:
            node = node["below"].setdefault(place, {"count": 0, "below": {}})
            node["count"] += count
    least = root["count"] * SHARE_MIN
    frames = document["frames"]

    def packed(name: str, place: str, node: Mapping[str, Any]) -> list[Any]:
        kept = sorted(
            ((number, child) for number, child in node["below"].items() if child["count"] >= least),
            key=lambda pair: -pair[1]["count"],
        )
        below = []
        for number, child in kept:
            function, file, line = frames[number]
            below.append(packed(function, f"{file}:{line}" if file else "", child))
        return [name, place, node["count"], below]

    return packed("all", "", root)
