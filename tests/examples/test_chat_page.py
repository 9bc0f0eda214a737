"""The chat page in headless Chromium: two people in two browser contexts, and a server that comes and goes."""

import os
import shutil
from collections.abc import Iterator

import pytest
from apps.running import RunningServer, running
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from examples.conftest import REPOSITORY

APP = "examples.chat:app"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
]
MILLISECONDS = 15_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (set CHROMIUM to its path)"),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def contexts(browser: Browser) -> Iterator[list[BrowserContext]]:
    made = [browser.new_context() for _ in range(2)]
    yield made
    for context in made:
        context.close()


def enter(context: BrowserContext, url: str, name: str) -> Page:
    page = context.new_page()
    page.set_default_timeout(MILLISECONDS)
    page.on("pageerror", lambda error: pytest.fail(f"the page raised {error}"))
    page.goto(url)
    page.fill("#name", name)
    page.click("dialog .go")
    expect(page.locator("#state")).to_have_text("Connected", timeout=MILLISECONDS)
    return page


def say(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")


def test_two_people_chat(server: RunningServer, contexts: list[BrowserContext]) -> None:
    ada, bob = (enter(context, server.url, name) for context, name in zip(contexts, ("Ada", "Bob"), strict=True))
    for page in (ada, bob):
        expect(page.locator("#count")).to_have_text("2 people here")
    expect(ada.locator("#log .note").last).to_have_text("Bob joined")

    bob.locator("#text").press_sequentially("Ahoy")
    expect(ada.locator("#typing")).to_have_text("Bob is typing…")
    bob.press("#text", "Enter")
    heard = ada.locator("#log .said").last
    expect(heard.locator(".text")).to_have_text("Ahoy")
    expect(heard.locator(".who")).to_contain_text("Bob")
    expect(ada.locator("#typing")).to_have_text("")
    expect(bob.locator("#log .said.mine:not(.waiting) .text").last).to_have_text("Ahoy")

    say(ada, "<img src=x onerror=alert(1)> https://example.org/a?b")
    told = bob.locator("#log .said .text").last
    expect(told).to_have_text("<img src=x onerror=alert(1)> https://example.org/a?b")
    expect(told.locator("img")).to_have_count(0)
    expect(told.locator("a")).to_have_attribute("href", "https://example.org/a?b")

    ada.close()
    expect(bob.locator("#log .note").last).to_have_text("Ada left")
    expect(bob.locator("#count")).to_have_text("Only you are here")


def test_page_reconnects_and_sends_what_was_said_meanwhile(contexts: list[BrowserContext]) -> None:
    with running(APP, directory=REPOSITORY) as first:
        pages = [enter(context, first.url, name) for context, name in zip(contexts, ("Ada", "Bob"), strict=True)]
        port = first.port
    ada, bob = pages
    expect(ada.locator("#state")).to_contain_text("Retry in", timeout=MILLISECONDS)
    say(ada, "said into the silence")
    expect(ada.locator("#log .said.waiting .text")).to_have_text("said into the silence")
    with running(APP, directory=REPOSITORY, port=port):
        for page in pages:
            page.evaluate("document.getElementById('retry').click()")  # right now, even if it is just trying by itself
            expect(page.locator("#state")).to_have_text("Connected", timeout=MILLISECONDS)
        expect(bob.locator("#log .said .text").last).to_have_text("said into the silence", timeout=MILLISECONDS)
        expect(ada.locator("#log .said.waiting")).to_have_count(0)


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_page_fits(server: RunningServer, browser: Browser, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 640})
    try:
        page = enter(context, server.url, "A name as long as it may get :-)")
        say(page, "w" * 500)
        expect(page.locator("#log .said .text").last).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        box = page.locator("#send").bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= 640
    finally:
        context.close()


def test_light_and_dark(server: RunningServer, browser: Browser) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme="light" if scheme == "light" else "dark")
        page = enter(context, server.url, scheme)
        shades[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        shades[f"{scheme} switched"] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        context.close()
    assert shades["light"] != shades["dark"]
    assert shades["light switched"] == shades["dark"]
    assert shades["dark switched"] == shades["light"]
