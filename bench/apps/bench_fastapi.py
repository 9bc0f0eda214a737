"""The FastAPI application of the benchmark: one route with a path parameter that answers with a small JSON model.

`rig.servers` starts it as ``bench_fastapi:app``; `rig.scenarios` knows the exact body.
"""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Item(BaseModel):
    """What the route answers with."""

    id: int
    name: str
    tags: list[str]
    price: float


@app.get("/items/{item_id}")
async def read_item(item_id: int) -> Item:
    """One item, built from the path."""
    return Item(id=item_id, name="swell", tags=["wind", "water"], price=9.5)
