"""Makes the pictures of the dashboard in docs/images: a real server under load, a real browser.

    python tools/screenshots/run.py [SECONDS]

Needs Chromium and the packages of tests/requirements.txt; with Pillow the files become a third of the size. SECONDS is
how long the load lasts before, 150 by default, so that the charts have something to show.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from swell.supervisor.history import LoadHistory

HERE = Path(__file__).parent
IMAGES = HERE.parents[1] / "docs" / "images"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync")
PATHS = ("/orders/71", "/orders/8", "/search?q=tea", "/people/ada", "/people/grace", "/checkout")
CLIENTS = 24
CHANCE = random.Random(7)  # noqa: S311 - no secret
# Name, width, height, colour scheme, what is clicked before.
PICTURES: tuple[tuple[str, int, int, str, tuple[str, ...]], ...] = (
    ("dashboard-light", 1400, 900, "light", ()),
    ("dashboard-dark", 1400, 900, "dark", ()),
    ("dashboard-phone", 390, 844, "light", ()),
    ("dashboard-worker", 1400, 900, "light", ("#workers tr:has-text('/reports') .open", "#ask-tasks")),
)
HISTORY_DAYS = 9


async def load(port: int, end: float) -> None:
    """Clients with more to do in some minutes than in others."""

    async def client(path: str | None, pause: float) -> None:
        while time.monotonic() < end:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                while time.monotonic() < end:
                    # One connection after the other, so that workers that are new get some.
                    for _ in range(CHANCE.randrange(20, 60)):
                        writer.write(f"GET {path or CHANCE.choice(PATHS)} HTTP/1.1\r\nhost: shop\r\n\r\n".encode())
                        await reader.readuntil(b"ok")
                        tide = 1.2 + math.sin(time.monotonic() / 14)
                        await asyncio.sleep(CHANCE.expovariate(tide / pause))
                    writer.close()
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()

    paths: list[tuple[str | None, float]] = [(None, 0.06)] * CLIENTS + [("/reports/2026", 1.0)] * 2
    async with asyncio.TaskGroup() as group:
        for path, pause in paths:
            group.create_task(client(path, pause))


def photograph(browser: Browser, address: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    for name, width, height, scheme, clicks in PICTURES:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
        )
        page = context.new_page()
        page.goto(address)
        page.wait_for_function("document.querySelectorAll('#chart-traffic > svg path.stroke.main[d*=L]').length")
        for selector in clicks:
            page.click(selector)
            page.wait_for_timeout(500)
        page.wait_for_timeout(2500)
        page.screenshot(path=IMAGES / f"{name}.png")
        with contextlib.suppress(ImportError):
            reduce(IMAGES / f"{name}.png")
        context.close()


def remember(place: Path, now: float) -> None:
    """A record of days on which the shop was busy in the afternoon, so that there is something to foretell from."""
    place.mkdir(parents=True, mode=0o700)
    load = LoadHistory(place / "load.sqlite")
    for minute in range(HISTORY_DAYS * 24 * 60, 0, -1):
        at = now - minute * 60
        phase = (at % 86400) / 86400 * 2 * math.pi
        usual = 1.9 - 1.4 * math.cos(phase - 0.7) - 0.3 * math.cos(3 * phase)
        actual = max(0.05, usual * CHANCE.uniform(0.85, 1.15))
        wanted = max(2, math.ceil(actual * 1.2))
        load.add(at, actual, wanted, requests=actual * 190, target=wanted)
    load.close()


def reduce(path: Path) -> None:
    """96 colours are enough for text and lines."""
    image = importlib.import_module("PIL.Image")
    picture = image.open(path).convert("RGB").quantize(96, dither=image.Dither.NONE)
    picture.save(path, optimize=True)


def main(arguments: list[str]) -> int:
    seconds = float(arguments[0]) if arguments else 150.0
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "swell", "shop:app", "--app-dir", str(HERE)]
        command += ["--port", "0", "--workers", "2..6", "--scale-policy", f"{directory}/policy.toml"]
        # The load runs on the same machine, whose CPU would be in the way.
        Path(directory, "policy.toml").write_text('host-cpu = "off"\nutilisation = 0.4\n', encoding="utf-8")
        command += ["--admin", "127.0.0.1:0", "--no-access-log", "--name", "shop"]
        remember(Path(directory, "state", "shop"), time.time())
        command += ["--forecast", "on", "--runtime-dir", f"{directory}/run", "--state-dir", f"{directory}/state"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            ports: list[int] = []
            for line in server.stderr:
                ports += [int(port) for port in re.findall(r" on http://127\.0\.0\.1:(\d+)", line)]
                if len(ports) == 2:
                    break
            pushing = subprocess.Popen([sys.executable, __file__, "--load", str(ports[0]), str(seconds + 60)])
            try:
                time.sleep(seconds)
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
                    photograph(browser, f"http://127.0.0.1:{ports[1]}/")
                    browser.close()
            finally:
                pushing.kill()
                pushing.wait()
                server.terminate()
                server.stderr.read()
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        asyncio.run(load(int(sys.argv[2]), time.monotonic() + float(sys.argv[3])))
    else:
        sys.exit(main(sys.argv[1:]))
