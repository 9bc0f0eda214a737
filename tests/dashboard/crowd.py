"""An instance with as many workers as wanted, made up: how the page looks with 32, or with none, costs no processes.

`crowd(count)` serves it from a thread on a port of its own. Its counters grow by themselves.
"""

from __future__ import annotations

import asyncio
import math
import queue
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.instance import SECONDS, FakeInstance, worker
from support.readings import GET, reading, snapshot

from swell.supervisor.admin.app import AdminApplication
from swell.supervisor.admin.feed import Feed
from swell.supervisor.admin.guard import Guard
from swell.supervisor.control.server import ControlServer
from swell.telemetry.metrics import Snapshot

__all__ = ["crowd"]

PATHS = ("/orders/{id}", "/search", "/checkout", "/people/{name}/letters/of-the-last-ten-years", "/")
REASON = "loops 71 % busy > 65 % for 6 s, which asks for more"


class Crowd(FakeInstance):
    """Its workers have served a little more at each look."""

    def __init__(self, count: int, history: bool = True) -> None:
        super().__init__("shop")
        self._chance = random.Random(7)
        self.workers = [self._made(number) for number in range(1, count + 1)]
        self.instance |= {"target": count, "max": max(1, count), "state": "running" if count else "sleeping"}
        now = time.time()
        self.outlook = day(now)
        if not history:
            nothing = [{**one, "load": None} for one in self.outlook["forecast"]]
            text = "3 h of history, 24 h are needed"
            self.outlook |= {"actual": [], "forecast": nothing, "load": None, "text": text}
        self.decisions = [
            {"at": now - 40 * back, "before": 2, "after": 2 + back % 3, "rule": "burst", "guard": None, "text": REASON}
            for back in range(12, 0, -1)
        ]

    def _made(self, number: int) -> dict[str, Any]:
        state = {3: "starting", 11: "draining", 17: "stuck"}.get(number, "ready")
        one = worker(number, state=state, cause="scaled up: loops were busy", pool_size=40, pool_busy=number % 7)
        return {**one, "cpu_ns": 0, "busy": 0, "rss_bytes": (38 + number % 9) << 20, "age": 40.0 * number**2}

    def status(self) -> dict[str, Any]:
        now = time.monotonic_ns()
        for one in self.workers:
            served = int(200 + 60 * math.sin(time.monotonic() / 9 + one["id"]))
            busy = 0 if one["state"] == "starting" else min(1.0, 0.3 + served / 500)
            latency = list(one["latency"])
            for bucket, share in ((10, 0.6), (11, 0.25), (13, 0.12), (17, 0.03)):
                latency[bucket] += int(served * share)
            waiting = [
                {"line": f"GET {self._chance.choice(PATHS)}", "since_ns": now - 10**8 * place * (one["id"] % 5)}
                for place in range(one["id"] % 4, 0, -1)
            ]
            current = None
            if one["state"] == "stuck":
                current = {"line": "POST /reports/yearly?year=2026&format=spreadsheet", "since_ns": now - 34 * 10**9}
            one |= {
                "requests": one["requests"] + served,
                "cpu_ns": one["cpu_ns"] + int(busy * 0.8e9),
                "busy": int(busy * 1000),
                "latency": latency,
                "waiting": waiting,
                "current": current,
                "heartbeat_ns": now - 10**7,
            }
        return super().status()

    def measured(self) -> Snapshot:
        requests = sum(one["requests"] for one in self.workers)
        kinds: Any = [
            (GET, [requests // 2, requests // 3, *[0] * 13], requests * 4_000_000),
            (("POST", "http", "1.1", 503, PATHS[3]), [0] * 8 + [requests // 900, *[0] * 6], requests * 400_000),
        ]
        return snapshot(reading(requests=requests, responses_5xx=requests // 900, kinds=kinds), state="running")


def day(now: float) -> dict[str, Any]:
    """A load that rises until the afternoon, as the days before, and somewhat more today."""
    hour = int(now // 3600) * 3600

    def usual(at: float) -> float:
        return 3.2 - 2.6 * math.cos((at % 86400) / 86400 * 2 * math.pi - 0.6)

    steps = range(hour - 86400, int(now) - 600, 600)
    chance = random.Random(5)
    actual = [
        {"at": at, "load": load, "ready": math.ceil(load), "target": math.ceil(load * 1.1), "requests": load * 310}
        for at in steps
        if (load := usual(at) * (1.1 + 0.2 * chance.random()))
    ]
    foretold = [
        {"at": hour + step * 3600, "load": round(usual(hour + step * 3600 + 1800), 2)} for step in range(-24, 13)
    ]
    text = "this hour usually needs 2.4 (forecasts of the last day wrong by 14 %)"
    return {
        "recorded": True, "at": now, "mode": "forecast-only", "text": text, "load": 2.4, "floor": 3, "error": 0.14,
        "span": 600, "actual": actual, "forecast": foretold,
    }  # fmt: skip


@contextmanager
def crowd(count: int, guard: Guard | None = None, *, history: bool = True) -> Iterator[str]:
    """The address of the page."""
    started: queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = queue.Queue()

    async def serve() -> None:
        instance = Crowd(count, history)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            feed = Feed(instance, instance.measured)
            server = ControlServer(
                AdminApplication(instance, instance.measured, guard or Guard(), 30.0, feed), listener
            )
            await server.start()
            end = asyncio.Event()
            started.put((asyncio.get_running_loop(), end, listener.getsockname()[1]))
            await end.wait()
            feed.stop()
            await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    loop, end, port = started.get(timeout=SECONDS)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(SECONDS)
        assert not thread.is_alive()


if __name__ == "__main__":
    with crowd(int(sys.argv[1])) as address:
        print(address, flush=True)
        time.sleep(float(sys.argv[2]))
