"""The page with 32 workers and with none, on screens of any width, in both colours, and with hostile requests."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from dashboard.conftest import MILLISECONDS, OpenPage
from dashboard.crowd import crowd

pytestmark = pytest.mark.timeout(120)
expect.set_options(timeout=MILLISECONDS)


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_thirty_two_workers_fit(open_page: OpenPage, width: int) -> None:
    with crowd(32) as address:
        page = open_page(address, viewport={"width": width, "height": 844})
        rows = page.locator("#workers tbody tr")
        expect(rows).to_have_count(32)
        expect(page.locator("#workers-note")).to_have_text("32 workers, 1 stuck")
        expect(page.locator("#worker-17 .state")).to_have_text("✕ stuck")
        expect(page.locator("#worker-17 .serves")).to_contain_text("POST /reports/yearly")
        expect(page.locator("#running li").first).to_contain_text("worker 17, on the loop")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # Nothing lies beside the screen but what is scrolled on purpose.
        sections = page.locator("main section").all()
        boxes = [box for section in sections if (box := section.bounding_box()) is not None]
        assert len(boxes) >= 7
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)


def test_rows_are_sorted_by_what_is_clicked(open_page: OpenPage) -> None:
    with crowd(32) as address:
        page = open_page(address)
        first = page.locator("#workers tbody tr").first
        expect(first).to_have_attribute("id", "worker-1")
        page.get_by_role("button", name="Age").click()
        expect(first).to_have_attribute("id", "worker-32")
        expect(page.locator("#workers th.age")).to_have_attribute("aria-sort", "descending")
        page.get_by_role("button", name="Age").click()
        expect(first).to_have_attribute("id", "worker-1")
        page.get_by_role("button", name="Serves now").click()
        expect(first).to_have_attribute("id", "worker-17")


def test_no_workers_is_said(open_page: OpenPage) -> None:
    with crowd(0) as address:
        page = open_page(address)
        expect(page.locator("#no-workers")).to_be_visible()
        expect(page.locator("#workers")).to_be_hidden()
        expect(page.locator("#figure-ready")).to_contain_text("0")


def test_light_and_dark(open_page: OpenPage) -> None:
    shades = {}
    with crowd(1) as address:
        for scheme in ("light", "dark"):
            page = open_page(address, color_scheme=scheme)
            expect(page.locator("#worker-1")).to_be_visible()
            shades[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert shades["light"] != shades["dark"]


def test_the_day_stands_beside_its_forecast(open_page: OpenPage) -> None:
    with crowd(2) as address:
        page = open_page(address)
        expect(page.locator("#day-note")).to_contain_text("It only watches")
        expect(page.locator("#day-note")).to_contain_text("this hour usually needs 2.4")
        for line in (
            "#chart-load > svg path.foretold",
            "#chart-load > svg path.main.stroke",
            "#chart-day > svg path.stroke",
        ):
            expect(page.locator(line)).to_have_attribute("d", re.compile("^M.+[LV]"))
        # The forecast goes on where the load has ended.
        ends = page.evaluate(
            """() => ["foretold", "main.stroke"].map((name) =>
                 document.querySelector(`#chart-load > svg path.${name}`).getBBox()).map((box) => box.x + box.width)"""
        )
        assert ends[0] > ends[1] * 1.2
        page.locator("#chart-load > svg").focus()
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#chart-load .when")).not_to_be_empty()
        expect(page.locator("#chart-day .when")).not_to_be_empty()


def test_without_a_day_of_history_a_sentence_says_so(open_page: OpenPage) -> None:
    with crowd(2, history=False) as address:
        page = open_page(address)
        expect(page.locator("#day-note")).to_have_text("No forecast yet: 3 h of history, 24 h are needed.")
        expect(page.locator("#day-charts")).to_be_hidden()


def test_the_cursor_stands_in_all_charts_and_moves_by_keys(open_page: OpenPage) -> None:
    with crowd(2) as address:
        page = open_page(address)
        drawn = page.locator("#chart-traffic > svg path.stroke.main")
        expect(drawn).to_have_attribute("d", re.compile("^M.+L"))
        page.locator("#chart-traffic > svg").focus()
        page.keyboard.press("ArrowLeft")
        for chart in ("traffic", "latency", "workers"):
            expect(page.locator(f"#chart-{chart} .when")).not_to_be_empty()
        page.keyboard.press("Escape")
        expect(page.locator("#chart-latency .when")).to_be_empty()
        page.keyboard.press("9")
        expect(page.locator("#window input[value='900']")).to_be_checked()
