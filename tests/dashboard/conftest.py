"""A browser, and servers with an admin address. Skipped where there is no Chromium."""

from __future__ import annotations

import http.client
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from support.metrics import Admin
from support.server import ServerProcess, serving

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
]
MILLISECONDS = 25_000

SOURCE = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    scope["route"] = "/" + path.split("/")[1]
    if path == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    status = 500 if path == "/fail" else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"Hello"})
"""

OpenPage = Callable[..., Page]
Serve = Callable[..., AbstractContextManager[tuple[ServerProcess, Admin]]]


def ask(server: ServerProcess, path: str, times: int = 1) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=20)
    for _ in range(times):
        connection.request("GET", path)
        connection.getresponse().read()
    connection.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for longer: Playwright runs an event loop in this thread for as long as it is there."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (set CHROMIUM to its path)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens an address in a context of its own. What the page raises fails the test."""
    contexts = []
    raised: list[str] = []

    def open_page(url: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.on("pageerror", lambda error: raised.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not raised


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Starts a server; `admin_port` is 0 for any."""
    (tmp_path / "main.py").write_text(SOURCE)

    @contextmanager
    def serve(*options: str, admin_port: int = 0) -> Iterator[tuple[ServerProcess, Admin]]:
        places = ("--runtime-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
        admin = ("--admin", f"127.0.0.1:{admin_port}", "--no-access-log", "--name", "shop")
        with serving("main:app", *admin, *places, *options, directory=tmp_path) as server:
            found = server.wait_for_log(r"probes, metrics and commands on https?://127\.0\.0\.1:(\d+)")
            yield server, Admin(int(found[1]))

    return serve
