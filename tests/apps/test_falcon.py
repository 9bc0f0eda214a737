"""Falcon's ASGI side behind the server."""

import hashlib

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from apps.running import RunningServer

APP = "falcon_app:app"


def test_get_and_lifespan(server: RunningServer) -> None:
    response = httpx.get(server.url, params={"name": "Möwe"})
    assert response.text == "Hello, Möwe"
    assert response.headers["x-started"] == "True"


def test_media(server: RunningServer) -> None:
    response = httpx.post(server.url, json={"a": [1, "é"]})
    assert (response.status_code, response.json()) == (201, {"got": {"a": [1, "é"]}})


def test_request_stream_with_and_without_length(server: RunningServer) -> None:
    body = bytes(range(256)) * 2_000
    digest = hashlib.sha256(body).hexdigest()
    answer = httpx.post(f"{server.url}/digest", content=body).json()
    assert answer == {"size": len(body), "sha256": digest, "length": len(body)}
    chunked = (body[start : start + 7_777] for start in range(0, len(body), 7_777))
    answer = httpx.post(f"{server.url}/digest", content=chunked).json()
    assert answer == {"size": len(body), "sha256": digest, "length": None}


def test_stream(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/stream").text == "".join(f"{number}," for number in range(100))


def test_server_sent_events(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/events")
    assert response.headers["content-type"] == "text/event-stream"
    events = [line for line in response.text.splitlines() if line.startswith("data")]
    assert events == ['data: {"tick": 0}', 'data: {"tick": 1}', 'data: {"tick": 2}']
    assert ": the end" in response.text


def test_executor(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/blocking").json() == 499_500


def test_errors(server: RunningServer) -> None:
    server.expect_error("LookupError")  # Falcon answers and logs it itself
    assert httpx.get(f"{server.url}/boom").status_code == 500
    assert httpx.get(f"{server.url}/nowhere").status_code == 404


def test_websocket(server: RunningServer) -> None:
    with connect(f"{server.ws_url}/ws?token=secret") as ws:
        for text in ("abc", "", "x" * 100_000 + "y"):
            ws.send(text)
            assert ws.recv(timeout=10) == text[::-1]
        ws.close(3001)
    server.wait_for_log("falcon websocket gone 3001")


def test_websocket_refused(server: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"{server.ws_url}/ws"):
        pass
    assert refused.value.response.status_code == 403
