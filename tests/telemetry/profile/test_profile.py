"""Profiles as tables and pages: the numbers add up, and nothing from the profile becomes markup."""

from __future__ import annotations

import json
import re
from typing import Any

from swell.telemetry.profile import flame, from_raw, hottest, trimmed

RAW = """\
main (app.py:1);work (app.py:9);leaf (app.py:20) 30
main (app.py:1);work (app.py:9) 10
main (app.py:1);work (app.py:9);work (app.py:9);leaf (app.py:20) 20
something without a place 40

not a line
"""


def data(page: str) -> Any:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_own_and_total_time() -> None:
    document = from_raw(RAW.splitlines())
    rows = {hot.function: (hot.own, hot.total) for hot in hottest(document)}
    # What calls itself counts once.
    assert rows == {"leaf": (50, 50), "something without a place": (40, 40), "work": (10, 60)}
    assert [hot.function for hot in hottest(document, 1)] == ["leaf"]
    assert (hottest(document, 1)[0].file, hottest(document, 1)[0].line) == ("app.py", 20)


def test_the_tree_adds_up() -> None:
    root = data(flame(from_raw(RAW.splitlines()), "a profile"))["root"]

    def check(node: list[Any]) -> None:
        assert sum(child[2] for child in node[3]) <= node[2]
        for child in node[3]:
            check(child)

    check(root)
    assert root[2] == 100
    assert [(child[0], child[2]) for child in root[3]] == [("main", 60), ("something without a place", 40)]


def test_what_could_not_be_seen_is_left_out() -> None:
    root = data(flame(from_raw(["big (a:1) 100000", "tiny (a:2) 1"]), "x"))["root"]
    assert [child[0] for child in root[3]] == ["big"]
    assert root[2] == 100001


def test_nothing_becomes_markup() -> None:
    evil = "</script><script>alert(1)</script><!--"
    page = flame(from_raw([f"{evil} (a.py:1) 5"]), evil)
    assert evil not in page
    assert page.count("<script") == 2
    assert data(page)["root"][3][0][0] == evil
    # Nothing from elsewhere, either.
    assert not re.search(r"""(?:src|href)=|https?:|url\(""", page)


def test_the_way_to_the_loop_is_left_out() -> None:
    frames = [["GET /x", "", 0], ["main", "a.py", 1], ["run", "/lib/asyncio/runners.py", 1], ["app", "a.py", 2]]
    stacks = [[5, [0, 1, 2, 3]], [3, [1, 2]], [1, [3]]]
    document = trimmed({"unit": "samples", "frames": frames, "stacks": stacks})
    assert document["stacks"] == [[5, [0, 3]], [3, [1, 2]], [1, [3]]]


def test_an_empty_profile_is_a_page_too() -> None:
    assert data(flame(from_raw([]), "nothing"))["root"] == ["all", "", 0, []]
