"""httpx and httpx2 as clients: pooled connections, every method, streaming both ways."""

import asyncio
import hashlib
import importlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apps.running import RunningServer, run_bounded

APP = "echo_app:app"


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "PROPFIND"])
def test_methods(server: RunningServer, library: Any, method: str) -> None:
    seen = library.request(method, f"{server.url}/x", content=b"abc").json()
    assert (seen["method"], seen["size"], seen["http_version"]) == (method, 3, "1.1")


def test_connection_is_kept_and_reused(server: RunningServer, library: Any) -> None:
    with library.Client(base_url=server.url) as client:
        ports = {client.post("/", content=b"x" * size).json()["client_port"] for size in range(0, 100_000, 9_999)}
    assert len(ports) == 1


def test_connection_close_is_obeyed(server: RunningServer, library: Any) -> None:
    with library.Client(base_url=server.url, headers={"connection": "close"}) as client:
        first, second = client.get("/"), client.get("/")
    assert first.headers["connection"] == second.headers["connection"] == "close"
    assert first.json()["client_port"] != second.json()["client_port"]


def test_streams_both_ways(server: RunningServer, library: Any) -> None:
    body = bytes(range(256)) * 3_000

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_007):
            yield body[start : start + 10_007]
            await asyncio.sleep(0)

    async def scenario() -> None:
        async with library.AsyncClient(base_url=server.url) as client:
            answers = await asyncio.gather(*(client.post("/stream", content=parts()) for _ in range(10)))
        for answer in answers:
            assert answer.json()["sha256"] == hashlib.sha256(body).hexdigest()

    run_bounded(scenario())


def test_large_answers_side_by_side(server: RunningServer, library: Any) -> None:
    async def scenario() -> None:
        async with library.AsyncClient(base_url=server.url, timeout=20) as client:
            answers = await asyncio.gather(*(client.get("/large") for _ in range(5)))
        for answer in answers:
            assert answer.content == bytes(range(256)) * 40_000

    run_bounded(scenario())


def test_client_timeout_leaves_the_server_well(server: RunningServer, library: Any) -> None:
    with library.Client(base_url=server.url) as client:
        with pytest.raises(library.ReadTimeout):
            client.get("/slow", timeout=0.02)
        assert client.get("/").status_code == 200
