"""Requests that are over, on the page: those that fail, those that are slow, with their ids."""

from __future__ import annotations

import itertools

import pytest
from playwright.sync_api import Locator, Page, expect
from support.server import ServerProcess

from dashboard.conftest import MILLISECONDS, OpenPage, Serve, ask

pytestmark = pytest.mark.timeout(120)
expect.set_options(timeout=MILLISECONDS)


def appear(page: Page, rows: Locator, server: ServerProcess, *paths: str) -> None:
    """Asks for them until there are rows: the tap reaches a worker a moment after the page has asked for it."""
    for _ in range(60):
        for path in paths:
            ask(server, path)
        if rows.count():
            return
        page.wait_for_timeout(250)


def choose(page: Page, *kinds: str) -> None:
    """From the first to the last of neighbours, by the keyboard: the page moves while a mouse is on its way."""
    for kind, following in itertools.pairwise(kinds):
        page.get_by_label(kind, exact=True).press("ArrowRight")
        expect(page.get_by_label(following, exact=True)).to_be_checked()


@pytest.mark.parametrize("form", ["text", "json"])
def test_failing_requests_have_their_ids(serve: Serve, open_page: OpenPage, form: str) -> None:
    options = ("--request-id", "make", "--access-log", "--log-format", form)
    with serve("--workers", "1", *options) as (server, admin):
        page = open_page(f"http://127.0.0.1:{admin.port}/")
        expect(page.locator("#log-empty")).to_have_text("Nothing yet.")
        rows = page.locator("#log li")
        appear(page, rows, server, "/orders/1", "/fail?<i>")
        row = rows.first
        expect(row).to_contain_text("✕ 500")
        expect(row).to_contain_text("GET /fail?<i>")
        expect(row).to_contain_text("worker 1")
        expect(row.locator(".id")).not_to_be_empty()
        expect(page.locator("#log")).not_to_contain_text("/orders")

        choose(page, "Failing", "Slow", "All")
        expect(rows).to_have_count(0)
        page.fill("#log-contains", "orders")
        page.press("#log-contains", "Enter")
        appear(page, rows, server, "/fail", "/orders/2")
        expect(rows.first).to_contain_text("GET /orders/2")
        expect(page.locator("#log")).not_to_contain_text("/fail")

        choose(page, "All", "Off")
        expect(page.locator("#log-empty")).to_have_text("Off: the workers send nothing.")
