"""Litestar behind the server."""

import hashlib
import json

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from apps.running import SERVED, RunningServer

APP = "litestar_app:app"


def test_get(server: RunningServer) -> None:
    assert httpx.get(server.url).text == "Hello from Litestar"


def test_lifespan(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/state").json() == {"harbour": "open"}


def test_sync_handler_in_a_thread(server: RunningServer) -> None:
    answer = httpx.get(f"{server.url}/sync", params={"boat": "Möwe", "length": 7.5}).json()
    assert answer == {"name": "Möwe", "length": 7.5}


def test_json_and_validation(server: RunningServer) -> None:
    boat = {"name": "Ente", "length": 3.5}
    response = httpx.post(f"{server.url}/boats", json=boat)
    assert (response.status_code, response.json()) == (201, boat)
    assert httpx.post(f"{server.url}/boats", json={"name": "Ente"}).status_code == 400


def test_upload(server: RunningServer) -> None:
    contents = {"one": b"1" * 100, "two": bytes(range(256)) * 5000}
    answer = httpx.post(f"{server.url}/upload", files={name: (name, data) for name, data in contents.items()}).json()
    assert answer == {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}


def test_chunked_request(server: RunningServer) -> None:
    assert httpx.post(f"{server.url}/chunks", content=iter([b"x" * 3000] * 40)).json() == 120_000


def test_stream(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/stream").text == "".join(f"{number}," for number in range(100))


def test_server_sent_events(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.splitlines() if line.startswith("data")]
    assert lines == ["data: tick 0", "data: tick 1", "data: tick 2"]


def test_file(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/file").content == (SERVED / "litestar_app.py").read_bytes()


def test_errors(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/boom").status_code == 500
    assert httpx.get(f"{server.url}/nowhere").status_code == 404


def test_websocket_listener(server: RunningServer) -> None:
    with connect(f"{server.ws_url}/ws/listener") as ws:
        for number in range(5):
            ws.send(json.dumps({"n": number}))
            assert json.loads(ws.recv(timeout=10)) == {"heard": {"n": number}}


def test_websocket_closed_by_the_handler(server: RunningServer) -> None:
    with connect(f"{server.ws_url}/ws/raw") as ws:
        for data in (b"a", b"bc", b""):
            ws.send(data)
            assert ws.recv(timeout=10) == data.upper()
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=10)
        assert (ws.close_code, ws.close_reason) == (4000, "three is enough")
