"""Quart behind the server."""

import hashlib

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from apps.running import SERVED, RunningServer

APP = "quart_app:app"


def test_get_and_lifespan(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/?boat=M%C3%B6we").text == "harbour open to Möwe"


def test_sync_view(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/sync").text == "GET"
    assert httpx.post(f"{server.url}/sync").status_code == 405


def test_session(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert [client.get("/visits").json()["visits"] for _ in range(3)] == [1, 2, 3]


def test_json(server: RunningServer) -> None:
    value = {"a": [1, 2.5, None], "b": "é"}
    assert httpx.post(f"{server.url}/json", json=value).json() == value


def test_streamed_request(server: RunningServer) -> None:
    parts = [bytes([number]) * 9_999 for number in range(50)]
    answer = httpx.post(f"{server.url}/stream-in", content=iter(parts)).json()
    assert answer == {"size": 499_950, "sha256": hashlib.sha256(b"".join(parts)).hexdigest()}


def test_upload(server: RunningServer) -> None:
    data = bytes(range(256)) * 4_000
    answer = httpx.post(f"{server.url}/upload", files={"one": ("one.bin", data)}).json()
    assert answer == {"one": hashlib.sha256(data).hexdigest()}


def test_streamed_response(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/stream-out")
    assert response.text == "".join(f"{number}," for number in range(100))
    assert response.headers["x-kind"] == "stream"


def test_file_and_range(server: RunningServer) -> None:
    source = (SERVED / "quart_app.py").read_bytes()
    assert httpx.get(f"{server.url}/file").content == source
    part = httpx.get(f"{server.url}/file", headers={"range": "bytes=10-29"})
    assert (part.status_code, part.content) == (206, source[10:30])


def test_background_task(server: RunningServer) -> None:
    assert httpx.post(f"{server.url}/background").status_code == 202
    assert httpx.get(f"{server.url}/finished", timeout=15).text == "finished"


def test_errors(server: RunningServer) -> None:
    server.expect_error("LookupError")  # Quart answers and logs it itself
    assert httpx.get(f"{server.url}/boom").status_code == 500
    assert httpx.get(f"{server.url}/forbidden").status_code == 403
    assert httpx.get(f"{server.url}/nowhere").status_code == 404


def test_websocket_echo(server: RunningServer) -> None:
    with connect(server.ws_url + "/ws") as ws:
        for message in ("text", b"\x00\xff", "é" * 50_000):
            ws.send(message)
            assert ws.recv(timeout=10) == message


def test_websocket_both_ways_at_once(server: RunningServer) -> None:
    with connect(server.ws_url + "/ws/both") as ws:
        for number in range(20):
            ws.send(str(number))
        assert [ws.recv(timeout=10) for _ in range(20)] == [f"talk {number}" for number in range(20)]
        assert ws.recv(timeout=10) == "heard 20"
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=10)
        assert (ws.close_code, ws.close_reason) == (4000, "done")


def test_websocket_refused_with_a_status(server: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(server.ws_url + "/ws/denied"):
        pass
    assert refused.value.response.status_code == 401
