"""Metrics of an application over its workers: `swell.metrics`, and prometheus_client as it is."""

from __future__ import annotations

import http.client
import os
import signal
from pathlib import Path

import pytest
from support.kernel import wait_until
from support.metrics import parsed
from support.server import ServerProcess

from lifecycle.test_admin import served

OURS = """
from swell.metrics import Counter, Gauge, Histogram

ORDERS = Counter("shop_orders", "Orders.", ["kind"])
WORKERS = Gauge("shop_workers", "Workers.")
SIZES = Histogram("shop_size", "Sizes.", buckets=[1, 10])

def count():
    ORDERS.labels("web").inc()
    WORKERS.set(1)
    SIZES.observe(5)
    return b""
"""
THEIRS = """
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

ORDERS = Counter("shop_orders", "Orders.", ["kind"])
WORKERS = Gauge("shop_workers", "Workers.", multiprocess_mode="livesum")
SIZES = Histogram("shop_size", "Sizes.", buckets=[1, 10])

def count():
    ORDERS.labels("web").inc()
    WORKERS.set(1)
    SIZES.observe(5)
    return generate_latest(REGISTRY)
"""
APP = """
import os

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = count()
    headers = [(b"pid", b"%d" % os.getpid()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


def ask(server: ServerProcess) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*server.address, timeout=20)
    connection.request("GET", "/")
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return int(answer.headers["pid"]), body


@pytest.mark.parametrize(
    ("source", "options"),
    [(OURS, ()), (THEIRS, ()), (THEIRS, ("--spawn", "fresh"))],
    ids=["ours", "prometheus_client", "prometheus_client in fresh interpreters"],
)
def test_all_workers_are_one(tmp_path: Path, source: str, options: tuple[str, ...]) -> None:
    with served(tmp_path, "--workers", "2", *options, source=source + APP) as (server, admin):
        wait_until(lambda: admin.metrics()["swell_workers{state=ready}"] == 2, "both are ready")
        pids, asked = set(), 0

        def both() -> bool:
            nonlocal asked
            asked += 1
            pids.add(ask(server)[0])
            return len(pids) == 2

        wait_until(both, "both have answered")

        def shop(workers: int) -> dict[str, float]:
            return {
                "shop_orders_total{kind=web}": asked,
                "shop_workers": workers,
                "shop_size_bucket{le=1.0}": 0,
                "shop_size_bucket{le=10.0}": asked,
                "shop_size_bucket{le=+Inf}": asked,
                "shop_size_sum": 5 * asked,
                "shop_size_count": asked,
            }

        def found() -> dict[str, float]:
            names = ("shop_orders_total", "shop_workers", "shop_size")
            return {name: value for name, value in admin.metrics().items() if name.startswith(names)}

        assert found() == shop(2)
        os.kill(pids.pop(), signal.SIGKILL)
        wait_until(lambda: admin.metrics().get("swell_worker_exits_total{cause=crash}") == 1, "one has ended")
        # What it counted stays, what it was does not; its successor has the gauge at 0 until it sets it.
        assert found() == shop(1)
        wait_until(lambda: admin.metrics()["swell_workers{state=ready}"] == 2, "it is replaced")
        assert found() == shop(1)
        asked += 1
        body = ask(server)[1]
        assert found()["shop_orders_total{kind=web}"] == asked
        if source is THEIRS:
            # The application's own endpoint, whoever answers, has the sums as well.
            own = parsed(body)
            assert own["shop_orders_total{kind=web}"] == own["shop_size_count"] == asked
