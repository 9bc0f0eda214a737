"""Tasks, task groups, time-outs and cancel scopes inside request handlers, anyio's and the standard library's."""

import asyncio
import socket
from typing import Any

import httpx
import pytest

from apps.running import RunningServer, run_bounded

APP = "anyio_app:app"

EXPECTED: dict[str, Any] = {
    "current_task": {"is_task": True, "listed": True, "same": True, "library": "asyncio", "anyio_task": True},
    "timeout": {"timed_out": True, "cancelling": 0},
    "timeout_on_receive": ["timed out", "timed out", "timed out", "moved on True", "waited for"],
    "cancel_scopes": ["shielded", "outer True inner False", "free"],
    "cancel_before_send": "still answered",
    "task_group": {"squares": {str(n): n * n for n in range(10)}, "native": [0, 1, 2, 3, 4]},
    "failing_group": ["sibling cancelled", "ValueError"],
    "shielded_cleanup": ["cleaned up"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_handler(server: RunningServer, name: str) -> None:
    with httpx.Client(base_url=server.url) as client:
        for _ in range(3):  # on one connection: the next request starts afresh
            assert client.get(f"/{name}").json() == EXPECTED[name]


def test_all_handlers_at_once(server: RunningServer) -> None:
    async def scenario() -> list[tuple[str, Any]]:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            names = list(EXPECTED) * 5
            answers = await asyncio.gather(*(client.get(f"/{name}") for name in names))
            return [(name, answer.json()) for name, answer in zip(names, answers, strict=True)]

    for name, answer in run_bounded(scenario()):
        assert answer == EXPECTED[name]


def test_disconnect_cancels_a_task_group(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /race HTTP/1.1\r\nHost: x\r\n\r\n")
    assert httpx.get(f"{server.url}/wait_until_cancelled", timeout=15).json() == "cancelled"


def test_receive_as_task(server: RunningServer) -> None:
    parts = [b"x" * 50_000] * 20
    assert httpx.post(f"{server.url}/receive_as_task", content=iter(parts)).json() == 1_000_000


def test_send_from_tasks(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/send_from_tasks").text == "".join(f"{n}," for n in range(20)) + "end"
