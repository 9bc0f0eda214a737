"""`swell profile` on a worker under load: both samplers find where the time goes, and what memory stays."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.kernel import over_and_over, wait_until

from lifecycle.asking import SECONDS, Told, told
from swell.telemetry.profile import hottest


@contextmanager
def load(server: Told, path: str) -> Iterator[None]:
    with contextlib.closing(http.client.HTTPConnection(*server.address, timeout=SECONDS)) as connection:

        def ask() -> None:
            connection.request("GET", path)
            connection.getresponse().read()

        with over_and_over(ask):
            yield


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[Told]:
    with told("--no-access-log", loop=request.param) as running:
        yield running


def spent(document: dict[str, Any]) -> dict[str, int]:
    return {hot.function: hot.total for hot in hottest(document, 1000)}


def three_to_one(functions: dict[str, int]) -> None:
    """Give or take what chance does to a hundred samples."""
    once, three_times = functions.get("once", 0), functions.get("three_times", 0)
    assert once + three_times > 60, functions
    # Of 60 looks, 4 or 28 would be at the function that gets 15 once in ten thousand times.
    assert 1.2 < three_times / max(once, 1) < 12, functions


def profiled(server: Told, *options: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(server.command("profile", "--json", "--seconds", "3", *options))
    return document


@pytest.mark.alone
def test_time_is_found_where_it_goes(server: Told) -> None:
    with load(server, "/burn/7"):
        document = profiled(server, "--sampler", "in-process")
    assert document["sampler"] == "in-process"
    functions = spent(document)
    three_to_one(functions)
    named = [frame[0] for frame in document["frames"]]
    assert "GET /burn/…" in named
    assert document["lines"][0][4].startswith(("total += number", "for number in range"))


def spy() -> str | None:
    return shutil.which("py-spy") or shutil.which("py-spy", path=sysconfig.get_path("scripts"))


@pytest.mark.alone
def test_py_spy_says_the_same(server: Told) -> None:
    program = spy()
    if program is None:
        pytest.skip("py-spy is not installed")
    worker = json.loads(server.command("status", "--json"))["workers"][0]["pid"]
    allowed = subprocess.run([program, "dump", "--pid", str(worker)], capture_output=True, timeout=SECONDS, check=False)
    if allowed.returncode:
        pytest.skip("py-spy may not look into other processes here")
    with load(server, "/burn/7"):
        document = profiled(server, "--sampler", "py-spy")
    assert document["sampler"] == "py-spy"
    three_to_one(spent(document))


def test_memory_that_stays_is_found(server: Told, tmp_path: Path) -> None:
    page = tmp_path / "memory.html"
    with load(server, "/hoard"):
        text = server.command("profile", "--memory", "--seconds", "2", "-o", str(page))
    assert "allocated and still there, by tracemalloc" in text
    assert any("told.py" in line for line in text.splitlines()[2:4]), text
    assert "hoarded.append" in page.read_text()
    # And the worker goes on without.
    assert server.get("/hello") == b"done"


@pytest.mark.skipif(sys.platform != "linux", reason="the tools of one system are enough")
def test_the_page_is_written_where_it_was_asked_for(server: Told, tmp_path: Path) -> None:
    page = tmp_path / "profile.html"
    with load(server, "/burn/7"):
        text = server.command("profile", "--sampler", "in-process", "--seconds", "1", "-o", str(page))
    assert str(page) in text.splitlines()[-1]
    assert "three_times" in text
    assert "three_times" in page.read_text()
    assert "cannot write" in server.command("profile", "--seconds", "1", "-o", f"{tmp_path}/no/x.html", code=1)


def test_one_at_a_time_and_only_where_somebody_is() -> None:
    with told("--no-access-log") as server:
        refused(server)


def is_profiled(server: Told) -> bool:
    threads = json.loads(server.command("dump", "--json"))["threads"]
    return any(thread["name"] == "swell profiler" for thread in threads)


@pytest.mark.parametrize("kind", ["--memory", "--hz=50"])
def test_a_profile_that_nobody_waits_for_any_more_ends(kind: str) -> None:
    """Above all one of memory, under which the worker is slow."""
    with told("--no-access-log") as server:
        line = server.line("profile", "--sampler", "in-process", "--seconds", "600", "--json", kind)
        impatient = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: is_profiled(server), "it is being profiled", SECONDS)
            impatient.send_signal(signal.SIGINT)
            assert impatient.wait(SECONDS) == 130
        finally:
            impatient.kill()
            impatient.wait(SECONDS)
        wait_until(lambda: not is_profiled(server), "it is profiled no more", SECONDS)
        server.command("profile", "--sampler", "in-process", "--seconds", "1", "--json")


def refused(server: Told) -> None:
    line = server.line("profile", "--sampler", "in-process", "--seconds", "20", "--json")
    both = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    try:
        wait_until(lambda: any(one.poll() is not None for one in both), "one of them is refused", SECONDS)
        (ended,) = [one for one in both if one.poll() is not None]
        assert ended.returncode == 1
        assert ended.stdout is not None
        assert "is being profiled already" in ended.stdout.read()
    finally:
        for one in both:
            one.kill()
            one.wait(SECONDS)
            assert one.stdout is not None
            one.stdout.close()
    assert "there is no worker 77" in server.command("profile", "77", code=1)
    assert "from 1 to 3600" in server.command("profile", "--seconds", "0", code=2)
