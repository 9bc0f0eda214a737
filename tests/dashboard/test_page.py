"""The page in headless Chromium, of real servers: what it shows, what its buttons do, what it says when it is alone."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from support.certificates import server_files
from support.http2 import http2
from support.kernel import over_and_over, wait_until
from support.server import ServerProcess

from dashboard.conftest import MILLISECONDS, OpenPage, Serve, ask

TOKEN = "a-token-of-enough-length"

pytestmark = pytest.mark.timeout(180)
expect.set_options(timeout=MILLISECONDS)


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/"


def number(page: Page, selector: str) -> int:
    """The first number in a text, such as 1,204."""
    found = re.search(r"\d[\d,]*", page.locator(selector).inner_text())
    assert found
    return int(found[0].replace(",", ""))


def is_live(page: Page) -> None:
    expect(page.locator("#link-text")).to_have_text("Live")


def test_the_numbers_are_those_of_the_metrics(serve: Serve, open_page: OpenPage) -> None:
    with serve("--workers", "2") as (server, admin):
        page = open_page(url(admin.port))
        is_live(page)
        expect(page).to_have_title("shop · Swell")
        ask(server, "/orders/7", 1200)
        ask(server, "/fail", 5)
        wait_until(lambda: admin.metrics()["swell_requests_total"] == 1205, "all are counted")
        expect(page.locator("#figure-requests")).to_contain_text("1,205 in all")
        expect(page.locator("#figure-errors")).to_contain_text("5 × 5xx")
        metrics = admin.metrics()
        assert metrics["swell_responses_total{class=5xx}"] == 5
        assert number(page, "#figure-ready") == metrics["swell_workers{state=ready}"] == 2
        per_worker = page.locator("#workers tbody tr")
        expect(per_worker).to_have_count(2)
        failing = page.locator("#routes tbody tr").first
        expect(failing).to_contain_text("GET /fail")
        expect(failing).to_contain_text("✕ 5")
        expect(page.locator("#routes")).to_contain_text("GET /orders")
        expect(page.locator("#chart-traffic > svg path.stroke.main")).to_have_attribute("d", re.compile("^M.+L"))
        with http2(server.address) as connection:
            connection.begin("/wait")
            connection.settled()
            expect(page.locator("#connections")).to_contain_text("1 with 1 stream")
            metrics = admin.metrics()
            assert metrics["swell_http2_connections"] == metrics["swell_http2_streams"] == 1
        expect(page.locator("#connections")).to_contain_text("0 with 0 streams")
        expect(page.locator("#connections")).to_contain_text("1 on 1 connection")


def test_what_is_running_is_shown_with_its_worker_and_its_age(serve: Serve, open_page: OpenPage) -> None:
    with serve("--workers", "1") as (server, admin):
        page = open_page(url(admin.port))
        connection = http.client.HTTPConnection(*server.address, timeout=20)
        connection.request("GET", "/wait?<b>")
        expect(page.locator("#running li").first).to_contain_text("GET /wait?<b>")
        expect(page.locator("#running li").first).to_contain_text("worker 1")
        expect(page.locator("#worker-1 .serves")).to_contain_text("GET /wait?<b>")
        expect(page.locator("#figure-in-flight")).to_contain_text("1 request over 1 s")
        page.click("#worker-1 button")
        page.click("#ask-tasks")
        expect(page.locator("#detail summary").first).to_contain_text("GET /wait")
        page.click("#ask-dump")
        expect(page.locator("#detail summary").first).to_contain_text("event loop")
        connection.close()


def test_the_button_scales(serve: Serve, open_page: OpenPage) -> None:
    with serve("--workers", "1..4") as (_, admin):
        page = open_page(url(admin.port))
        is_live(page)
        page.click("#scale")
        page.fill("#ask-min", "3")
        page.fill("#ask-max", "2")
        page.press("#ask-max", "Enter")
        expect(page.locator("#ask .wrong")).to_have_text("At least is more than at most.")
        page.fill("#ask-max", "3")
        page.press("#ask-max", "Enter")
        expect(page.locator(".toast.done")).to_contain_text("3 workers, whatever the load")
        expect(page.locator("#workers tbody tr")).to_have_count(3)
        expect(page.locator("#decisions li").first).to_contain_text("asked for 3")
        expect(page.locator("#decisions li").first).to_contain_text("1 → 3")
        expect(page.locator("#chart-workers .marks path")).to_have_count(1)
        assert admin.document("/api/status")[1]["instance"]["target"] == 3


def test_a_refused_command_says_why(serve: Serve, open_page: OpenPage) -> None:
    with serve("--workers", "1") as (_, admin):
        page = open_page(url(admin.port))
        is_live(page)
        page.click("#scale")
        page.fill("#ask-min", "250")
        page.fill("#ask-max", "250")
        page.press("#ask-max", "Enter")
        expect(page.locator(".toast.error")).to_contain_text("this instance has room for")
        page.click(".toast.error button")
        expect(page.locator(".toast")).to_have_count(0)


def test_everything_can_be_done_with_the_keyboard(serve: Serve, open_page: OpenPage) -> None:
    with serve("--workers", "2") as (_, admin):
        page = open_page(url(admin.port))
        is_live(page)
        expect(page.locator("#worker-1")).to_be_visible()
        page.keyboard.press("w")
        expect(page.locator("#worker-1 button")).to_be_focused()
        page.keyboard.press("ArrowDown")
        expect(page.locator("#worker-2 button")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#detail")).to_contain_text("Worker 2")
        page.keyboard.press("Escape")
        expect(page.locator("#detail")).to_be_hidden()
        expect(page.locator("#worker-2 button")).to_be_focused()
        page.keyboard.press("Enter")
        page.locator("#restart").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#ask-title")).to_have_text("Restart worker 2?")
        page.keyboard.press("Enter")
        expect(page.locator(".toast.done")).to_contain_text("worker 2 is replaced")
        expect(page.locator("#worker-3")).to_be_visible()
        expect(page.locator("#worker-2")).to_have_count(0)
        page.keyboard.press("r")
        expect(page.locator("#ask-title")).to_have_text("Reload the code?")
        page.keyboard.press("Enter")
        expect(page.locator(".toast.done", has_text="generation 2 serves")).to_be_visible()
        expect(page.locator("#workers-note")).to_contain_text("generation 2")


def test_who_may_only_look_sees_no_buttons(serve: Serve, open_page: OpenPage) -> None:
    with serve("--workers", "1", "--admin-read-only") as (_, admin):
        page = open_page(url(admin.port))
        is_live(page)
        expect(page.locator("#read-only")).to_be_visible()
        expect(page.locator("#actions")).to_be_hidden()
        page.keyboard.press("s")
        expect(page.locator("#ask")).to_be_hidden()
        page.click("#worker-1 button")
        expect(page.locator("#detail")).to_contain_text("Worker 1")
        expect(page.locator("#restart")).to_be_hidden()
        expect(page.locator("#profile")).to_be_hidden()


def busy(server: ServerProcess) -> AbstractContextManager[None]:
    return over_and_over(lambda: ask(server, "/orders/7", 50))


def test_the_button_makes_a_profile(serve: Serve, open_page: OpenPage) -> None:
    with serve("--workers", "1") as (server, admin), busy(server):
        page = open_page(url(admin.port))
        is_live(page)
        page.click("#worker-1 button")
        page.click("#profile")
        expect(page.locator("#ask-title")).to_have_text("Profile worker 1")
        page.fill("#ask-seconds", "2")
        page.press("#ask-seconds", "Enter")
        expect(page.locator(".toast.pending progress")).to_be_visible()
        # One at a time: the second is told so.
        status, _, text = admin.ask("POST", "/api/profile", '{"worker": 1, "seconds": 1}', Swell_Admin="1")
        assert (status, "is being profiled already" in text) == (409, True)
        link = page.locator(".toast.kept a")
        expect(link).to_have_text("open the flame graph")
        expect(page.locator(".toast.kept .hottest li").first).to_contain_text("%")
        with page.context.expect_page() as opened:
            link.click()
        flame = opened.value
        flame.set_default_timeout(MILLISECONDS)
        expect(flame.locator("h1")).to_contain_text("shop, worker 1")
        # Its script runs, and has nothing to do with this server.
        expect(flame.locator("#graph button").first).to_contain_text("all")
        assert flame.evaluate("self.origin") == "null"
        assert flame.locator("#graph button").count() > 1
        page.click("#worker-1 button")
        expect(page.locator("#detail .profiles")).to_contain_text("samples by in-process")


def hello(port: int) -> dict[str, Any]:
    """What a page is told first."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/api/events")
        response = connection.getresponse()
        assert response.readline() == b"event: hello\n"
        said: dict[str, Any] = json.loads(response.readline().removeprefix(b"data: "))
        return said


def history(said: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of the charts. Those of minutes that an earlier life has recorded know of no requests."""
    return [dict(zip(said["columns"], row, strict=True)) for row in said["history"]]


def seen(said: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the charts, what a parent has seen itself."""
    return [one for one in history(said) if one["requests"] is not None]


def test_an_upgrade_loses_nothing_of_what_was_seen(serve: Serve, open_page: OpenPage) -> None:
    with serve("--workers", "1..3") as (server, admin):
        page = open_page(url(admin.port))
        is_live(page)
        assert admin.ask("POST", "/api/scale", '{"by": 1}', Swell_Admin="1")[0] == 200
        expect(page.locator("#decisions li").first).to_contain_text("1 → 2")
        ask(server, "/orders/7", 400)
        expect(page.locator("#figure-requests")).to_contain_text("400 in all")
        wait_until(lambda: sum(one["requests"] for one in seen(hello(admin.port))) > 100, "it is in the charts")
        before = hello(admin.port)
        os.kill(server.pid, signal.SIGUSR2)
        expect(page.locator("#notice-replaced")).to_contain_text("The server was replaced", timeout=60_000)
        is_live(page)
        after = hello(admin.port)
        assert after["instance"]["pid"] != before["instance"]["pid"]
        assert [one["text"] for one in after["decisions"]][: len(before["decisions"])] == [
            one["text"] for one in before["decisions"]
        ]
        assert seen(after)[: len(seen(before))] == seen(before)
        # What others have counted is no traffic of the new one's.
        end = before["history"][-1][0]
        quiet = [one["requests"] for one in seen(hello(admin.port)) if one["at"] > end + 2]
        assert not any(quiet)
        # A page that is opened now has it, too.
        page.reload()
        is_live(page)
        expect(page.locator("#figure-requests")).to_contain_text("400 in all")
        expect(page.locator("#decisions")).to_contain_text("asked for 2")
        expect(page.locator("#chart-traffic > svg path.stroke.main")).to_have_attribute("d", re.compile("^M.+L"))
        expect(page.locator("#chart-workers .marks path").first).to_be_visible()


def test_a_restart_keeps_what_is_recorded(serve: Serve, open_page: OpenPage) -> None:
    with serve("--workers", "1..3") as (server, admin):
        page = open_page(url(admin.port))
        is_live(page)
        expect(page.locator("#day-note")).to_contain_text("No forecast yet")
        assert admin.ask("POST", "/api/scale", '{"by": 1}', Swell_Admin="1")[0] == 200
        expect(page.locator("#decisions li").first).to_contain_text("1 → 2")
        ask(server, "/orders/7", 50)
        expect(page.locator("#figure-requests")).to_contain_text("50 in all")
    expect(page.locator("#link-text")).to_contain_text("Reconnecting")
    with serve("--workers", "1..3", admin_port=admin.port):
        is_live(page)
        expect(page.locator("#notice-replaced")).to_contain_text("The server was replaced")
        wait_until(lambda: any(one["requests"] is None for one in history(hello(admin.port))), "the record is open")
        old = next(one for one in history(hello(admin.port)) if one["requests"] is None)
        assert old["ready"] > 0
        assert old["need"] is not None
        status, outlook = admin.document("/api/forecast")
        assert (status, outlook["recorded"], len(outlook["forecast"])) == (200, True, 37)
        assert outlook["actual"][-1]["requests"] > 0
        page.reload()
        is_live(page)
        expect(page.locator("#decisions")).to_contain_text("asked for 2")
        expect(page.locator("#chart-load > svg path.stroke.main")).to_have_attribute("d", re.compile("^M"))


def test_over_tls_it_is_the_same_page(serve: Serve, open_page: OpenPage, tmp_path: Path) -> None:
    certificate, key = server_files("127.0.0.1")
    (tmp_path / "token").write_text(TOKEN)
    options = ("--admin-ssl-certfile", certificate, "--admin-ssl-keyfile", key, "--workers", "1")
    with serve(*options, "--admin-token-file", str(tmp_path / "token")) as (_, admin):
        page = open_page(f"https://127.0.0.1:{admin.port}/", ignore_https_errors=True)
        page.fill("#ask-token", TOKEN)
        page.keyboard.press("Enter")
        is_live(page)
        expect(page.locator("#worker-1")).to_be_visible()
        protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
        assert page.evaluate(protocol) == "h2"
        (cookie,) = page.context.cookies()
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")


def test_the_token_is_asked_for(serve: Serve, open_page: OpenPage, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with serve("--workers", "1", "--admin-token-file", str(token)) as (_, admin):
        page = open_page(url(admin.port))
        expect(page.locator("#ask-title")).to_have_text("Sign in")
        page.fill("#ask-token", "not-the-token-at-all")
        page.keyboard.press("Enter")
        expect(page.locator("#ask .wrong")).to_have_text("that is not the token")
        page.fill("#ask-token", TOKEN)
        page.keyboard.press("Enter")
        is_live(page)
        page.click("#scale")
        page.fill("#ask-min", "2")
        page.fill("#ask-max", "2")
        page.keyboard.press("Enter")
        expect(page.locator("#workers tbody tr")).to_have_count(2)


def test_it_comes_back_after_a_restart_and_says_so(serve: Serve, open_page: OpenPage) -> None:
    with serve("--workers", "1") as (_, admin):
        page = open_page(url(admin.port))
        is_live(page)
        expect(page.locator("#worker-1")).to_be_visible()
    expect(page.locator("#link-text")).to_contain_text("Reconnecting")
    expect(page.locator("#notice-lost")).to_contain_text("What you see is from")
    expect(page.locator("#worker-1")).to_be_visible()
    with serve("--workers", "2", admin_port=admin.port):
        is_live(page)
        expect(page.locator("#notice-lost")).to_have_count(0)
        expect(page.locator("#notice-replaced")).to_contain_text("The server was replaced")
        expect(page.locator("#workers tbody tr")).to_have_count(2)


def test_it_shows_an_instance_that_sleeps(serve: Serve, open_page: OpenPage, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('idle-after = "1s"\n')
    with serve("--workers", "0..1", "--scale-policy", str(policy)) as (server, admin):
        page = open_page(url(admin.port))
        expect(page.locator("#no-workers")).to_contain_text("sleeps until somebody connects")
        expect(page.locator("#notice-state")).to_contain_text("the next connection wakes it")
        ask(server, "/")
        expect(page.locator("#workers tbody tr")).to_have_count(1)
