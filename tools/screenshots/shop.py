"""A shop that is served while its dashboard is photographed: fast, slow and failing requests, and one that computes."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

_ROUTES = {
    "orders": ("/orders/{id}", 0.004, 0.0),
    "search": ("/search", 0.012, 0.003),
    "people": ("/people/{name}", 0.002, 0.0),
    "reports": ("/reports/{year}", 3.0, 0.0),
    "checkout": ("/checkout", 0.02, 0.001),
}
_FAILING = 0.03
_CHANCE = random.Random()  # noqa: S311 - no secret


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    name = scope["path"].split("/")[1]
    scope["route"], waits, computes = _ROUTES[name]
    begin = time.thread_time()
    while time.thread_time() - begin < computes:
        pass
    await asyncio.sleep(_CHANCE.expovariate(1 / waits))
    status = 200
    if name == "checkout" and _CHANCE.random() < _FAILING:
        status = 503
    elif name == "people" and _CHANCE.random() < _FAILING:
        status = 404
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
