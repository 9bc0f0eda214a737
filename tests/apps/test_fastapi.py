"""FastAPI behind the server, with httpx and `websockets` as its clients."""

import asyncio
import hashlib
import threading

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from apps.running import SERVED, RunningServer, run_bounded

APP = "fastapi_app:app"


def done(server: RunningServer, what: str) -> bool:
    answer = httpx.get(f"{server.url}/done", params={"what": what}, timeout=15).json()
    assert isinstance(answer, bool)
    return answer


def test_sync_endpoint_runs_in_a_thread_with_the_request_context(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/sync", headers={"x-user": "ada"})
    assert response.json() == {"main_thread": False, "user": "ada"}
    assert response.headers["x-stamp"] == "seen"


def test_sync_endpoints_run_side_by_side(server: RunningServer) -> None:
    async def scenario() -> list[int]:
        async with httpx.AsyncClient(base_url=server.url, timeout=15) as client:
            answers = await asyncio.gather(*(client.get("/meet") for _ in range(8)))
            return sorted(answer.json()["place"] for answer in answers)

    assert run_bounded(scenario()) == list(range(8))


def test_async_endpoint_state_and_context(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as client:
        for user in ("ada", "bob"):
            answer = client.get("/async", headers={"x-user": user}).json()
            assert answer == {"answer": 42, "header": user, "context": user}
        assert client.get("/async").json()["context"] == "nobody"


def test_json_in_and_out(server: RunningServer) -> None:
    item = {"name": "Schäkel", "price": 12.5, "tags": ["a", "b"]}
    response = httpx.post(f"{server.url}/items?notify=true", json=item)
    assert response.status_code == 201
    assert response.json() == {"item": item, "notify": True}


def test_validation_error(server: RunningServer) -> None:
    response = httpx.post(f"{server.url}/items", json={"name": "x", "price": "much"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "price"]


def test_dependency_is_closed(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/resource").json() == "open"
    assert done(server, "resource closed")


def test_stream_from_a_sync_generator(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/stream").text == "".join(f"{number};" for number in range(50))


def test_stream_through_middleware_is_cancelled_when_the_client_leaves(server: RunningServer) -> None:
    with httpx.stream("GET", f"{server.url}/astream") as response:
        size = 0
        for part in response.iter_bytes():
            size += len(part)
            if size > 1_000_000:
                break
    assert done(server, "stream ended")


def test_file(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/file")
    assert response.content == (SERVED / "fastapi_app.py").read_bytes()
    assert "filename*=utf-8''source%20%C3%A9.py" in response.headers["content-disposition"]


def test_upload_of_several_files(server: RunningServer) -> None:
    contents = {"small.txt": b"small", "large.bin": bytes(range(256)) * 10_000, "empty": b""}
    files = [("files", (name, content)) for name, content in contents.items()]
    answer = httpx.post(f"{server.url}/upload", files=files, data={"note": "three"}).json()
    assert answer["note"] == "three"
    assert answer["names"] == list(contents)
    assert answer["digests"] == [hashlib.sha256(content).hexdigest() for content in contents.values()]


def test_body_through_middleware(server: RunningServer) -> None:
    assert httpx.post(f"{server.url}/raw", content=b"x" * 1_000_000).json() == 1_000_000


def test_background_task(server: RunningServer) -> None:
    name = f"task {threading.get_ident()}"
    assert httpx.post(f"{server.url}/background", params={"what": name}).json() == "accepted"
    assert done(server, name)


def test_application_error(server: RunningServer) -> None:
    server.expect_error("ArithmeticError")
    assert httpx.get(f"{server.url}/boom").status_code == 500


def test_documentation_pages(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/docs").status_code == 200
    assert "/items" in httpx.get(f"{server.url}/openapi.json").json()["paths"]


def test_websocket_with_a_dependency(server: RunningServer) -> None:
    with connect(f"{server.ws_url}/ws?token=secret") as ws:
        ws.send("hello")
        assert ws.recv(timeout=10) == "member: hello"
    assert done(server, "websocket ended")


def test_websocket_refused_by_a_dependency(server: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"{server.ws_url}/ws?token=wrong"):
        pass
    assert refused.value.response.status_code == 403


def test_websocket_bytes(server: RunningServer) -> None:
    with connect(f"{server.ws_url}/ws/bytes", max_size=None) as ws:
        for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
            data = (bytes(range(251)) * (size // 251 + 1))[:size]
            ws.send(data)
            assert ws.recv(timeout=10) == data[::-1]
