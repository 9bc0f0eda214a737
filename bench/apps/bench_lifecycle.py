"""What the servers of `bench/lifecycle.py` run: the application of the steady load, with the weight of a real one.

It imports FastAPI and a model, so that a start costs what an ordinary application's costs, and notes when each worker
has started in the file that BENCH_STARTS names: "PID GENERATION CLOCK_MONOTONIC".
"""

import os
import time
from typing import Any

import fastapi
import pydantic
import subject


class Item(pydantic.BaseModel):
    """Something to validate."""

    name: str
    tags: list[str] = []


routes = fastapi.FastAPI()


@routes.post("/items")
async def create(item: Item) -> Item:
    return item


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers as the steady load expects; notes when lifespan startup is through."""

    async def noted(message: Any) -> None:
        await send(message)
        if message["type"] == "lifespan.startup.complete":
            line = f"{os.getpid()} {subject.GENERATION} {time.monotonic():.6f}\n"
            notes = os.open(os.environ["BENCH_STARTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(notes, line.encode())
            os.close(notes)

    await subject.app(scope, receive, noted if scope["type"] == "lifespan" else send)
