"""An application that waits, computes and hangs in known ways, to be looked at from outside."""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


released = asyncio.Event()


async def leaf() -> None:
    await released.wait()


async def block(seconds: float) -> None:
    await asyncio.sleep(0.2)
    time.sleep(seconds)  # noqa: ASYNC251 - in no request


kept: list[asyncio.Task[None]] = []
hoarded: list[bytearray] = []


def once(count: int) -> int:
    total = 0
    for number in range(count):
        total += number
    return total


def three_times(count: int) -> int:
    total = 0
    for number in range(3 * count):
        total += number
    return total


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    _, route, *rest = scope["path"].split("/")
    match route:
        case "gather":
            await asyncio.gather(leaf(), leaf())
        case "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(leaf(), name="first of the group")
                group.create_task(leaf())
        case "wait_for":
            await asyncio.wait_for(asyncio.ensure_future(leaf()), 60)
        case "shield":
            await asyncio.shield(leaf())
        case "anyio":
            async with anyio.create_task_group() as group_of_anyio:
                group_of_anyio.start_soon(leaf)
        case "await":
            await asyncio.create_task(leaf())
        case "release":
            released.set()
        case "sleep":
            time.sleep(float(rest[0]))  # noqa: ASYNC251 - what must not be done
        case "later":
            await asyncio.sleep(0.05)
            time.sleep(float(rest[0]))  # noqa: ASYNC251 - in a later step
        case "burn":
            once(150_000)
            three_times(150_000)
        case "hoard":
            if len(hoarded) < 40_000:
                hoarded.append(bytearray(2_000))
        case "background":
            kept.append(asyncio.create_task(block(float(rest[0])), name="in the background"))
        case "native":
            ctypes.PyDLL(None).usleep(int(float(rest[0]) * 1e6))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
