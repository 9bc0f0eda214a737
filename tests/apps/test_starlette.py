"""Starlette behind the server, with httpx and `websockets` as its clients."""

import asyncio
import hashlib
import json
import socket
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from apps.running import SERVED, SERVER, RunningServer, run_bounded

APP = "starlette_app:app"
SOURCE = SERVED / "starlette_app.py"


def test_get(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/plain")
    assert (response.status_code, response.text) == (200, "Hello, world!")
    assert response.headers["content-length"] == "13"
    assert "date" in response.headers


def test_head_sends_no_body_and_keeps_the_connection(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as client:
        for _ in range(3):
            head = client.head("/plain")
            assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "13")
            assert client.get("/plain").text == "Hello, world!"


def test_scope(server: RunningServer) -> None:
    headers = [("X", "1"), ("X", "two")]
    seen = httpx.get(f"{server.url}/scope/a%20b%2Fc/%C3%A9?q=%20x&y", headers=headers).json()
    assert seen["type"] == "http"
    assert (seen["http_version"], seen["method"], seen["scheme"], seen["root_path"]) == ("1.1", "GET", "http", "")
    assert (seen["path"], seen["raw_path"]) == ("/scope/a b/c/é", "/scope/a%20b%2Fc/%C3%A9")
    assert seen["query_string"] == "q=%20x&y"
    assert seen["server"] == ["127.0.0.1", server.port]
    assert seen["client"][0] == "127.0.0.1"
    assert isinstance(seen["client"][1], int)
    assert seen["asgi"]["version"] == "3.0"
    assert seen["x"] == ["1", "two"]
    assert seen["lower"] is True


def test_lifespan_state_is_a_copy_per_request(server: RunningServer) -> None:
    first = httpx.get(f"{server.url}/state?a").json()
    second = httpx.get(f"{server.url}/state?b").json()
    assert first["started"] == second["started"] == "yes"
    assert first["fresh"]
    assert second["fresh"]
    assert second["seen"][-2:] == ["a", "b"]


def test_requests_start_from_the_lifespan_context(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as client:  # one connection: nothing leaks from request to request
        for _ in range(3):
            seen = client.get("/context").json()
            assert seen["before"] == "clean"
            assert seen["lifespan"] == "set at startup" or SERVER == "uvicorn"  # which starts from an empty one


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
def test_upload_with_length(server: RunningServer, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    answer = httpx.post(f"{server.url}/digest", content=body).json()
    assert answer == {"size": size, "sha256": hashlib.sha256(body).hexdigest()}


def test_chunked_upload(server: RunningServer) -> None:
    parts = [b"a" * size for size in (1, 10, 4096, 70_000, 3)]
    answer = httpx.post(f"{server.url}/digest", content=iter(parts)).json()
    body = b"".join(parts)
    assert answer == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def test_form(server: RunningServer) -> None:
    assert httpx.post(f"{server.url}/form", data={"a": "1", "b": "é &"}).json() == {"a": "1", "b": "é &"}


def test_stream_is_chunked_and_complete(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/stream", params={"count": 500})
    assert response.headers["transfer-encoding"] == "chunked"
    assert response.text == "".join(f"line {number}\n" for number in range(500))


def test_gzip_stream(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/zipped/stream", params={"count": 500}, headers={"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert response.text.endswith("line 499\n")


def test_stream_is_cancelled_when_the_client_leaves(server: RunningServer) -> None:
    with httpx.stream("GET", f"{server.url}/endless") as response:
        assert next(response.iter_bytes()).startswith(b"tick")
    assert httpx.get(f"{server.url}/wait-until-gone", timeout=15).text == "it is over"


def test_is_disconnected(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /wait-for-disconnect HTTP/1.1\r\nHost: x\r\n\r\n")
    assert httpx.get(f"{server.url}/wait-until-gone", timeout=15).text == "it is over"


def test_client_disconnect_in_the_middle_of_an_upload(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /abandoned-upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this")
    assert httpx.get(f"{server.url}/wait-until-gone", timeout=15).text == "it is over"


def test_cookies(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as client:
        response = client.get("/cookies")
        assert len(response.headers.get_list("set-cookie")) == 2
        assert client.get("/cookies").json() == {"one": "1", "two": "2"}


def test_background_task_runs_after_the_answer(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/background").text == "answered first"
    assert httpx.get(f"{server.url}/wait-until-gone", timeout=15).text == "it is over"


def test_redirect(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/redirect", follow_redirects=True)
    assert (response.status_code, response.text, len(response.history)) == (200, "Hello, world!", 1)


def test_error_before_the_head_is_a_500(server: RunningServer) -> None:
    server.expect_error("LookupError")
    assert httpx.get(f"{server.url}/boom").status_code == 500
    assert httpx.get(f"{server.url}/plain").status_code == 200


def test_error_after_the_head_breaks_the_connection_off(server: RunningServer) -> None:
    server.expect_error("LookupError")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        httpx.get(f"{server.url}/late-boom")


def test_http_exception_with_headers(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/teapot")
    assert (response.status_code, response.text, response.headers["x-pot"]) == (418, "short and stout", "yes")


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(server: RunningServer, status: int) -> None:
    with httpx.Client(base_url=server.url) as client:
        response = client.get("/no-content", params={"status": status})
        assert (response.status_code, response.content) == (status, b"")
        assert "transfer-encoding" not in response.headers
        assert client.get("/plain").text == "Hello, world!"


def test_file_and_range(server: RunningServer) -> None:
    source = SOURCE.read_bytes()
    whole = httpx.get(f"{server.url}/file")
    assert whole.content == source
    part = httpx.get(f"{server.url}/file", headers={"range": "bytes=3-19"})
    assert (part.status_code, part.content) == (206, source[3:20])
    assert part.headers["content-range"] == f"bytes 3-19/{len(source)}"
    assert httpx.get(f"{server.url}/file", headers={"range": f"bytes={len(source)}-"}).status_code == 416


def test_static_file_not_modified(server: RunningServer) -> None:
    first = httpx.get(f"{server.url}/static/{Path(SOURCE).name}")
    assert first.content == SOURCE.read_bytes()
    again = httpx.get(f"{server.url}/static/{SOURCE.name}", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_many_requests_at_once(server: RunningServer) -> None:
    async def scenario() -> list[int]:
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(base_url=server.url, limits=limits) as client:
            answers = await asyncio.gather(*(client.get("/stream", params={"count": n}) for n in range(100)))
            return [answer.text.count("\n") for answer in answers]

    assert run_bounded(scenario()) == list(range(100))


def test_websocket_echo_with_subprotocol_and_headers(server: RunningServer) -> None:
    offered = [Subprotocol("first"), Subprotocol("second")]
    with connect(f"{server.ws_url}/ws/echo", subprotocols=offered) as ws:
        assert ws.subprotocol == "second"
        assert ws.response is not None
        assert ws.response.headers["x-accepted"] == "yes"
        for text in ("", "short", "é" * 10_000, "x" * 200_000):
            ws.send(text)
            assert ws.recv(timeout=10) == text


def test_websocket_json_and_close_code_from_the_application(server: RunningServer) -> None:
    with connect(f"{server.ws_url}/ws/messages?name=Ada") as ws:
        ws.send(json.dumps({"a": [1, None]}))
        assert json.loads(ws.recv(timeout=10)) == {"got": {"a": [1, None]}, "from": "Ada"}
        ws.send(json.dumps("close"))
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=10)
        assert (ws.close_code, ws.close_reason) == (4321, "as you wish")


def test_websocket_close_code_from_the_client(server: RunningServer) -> None:
    with connect(f"{server.ws_url}/ws/messages") as ws:
        ws.close(4000, "my turn")
    server.wait_for_log(r"websocket closed with 4000 'my turn'")


def test_websocket_denial_response(server: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"{server.ws_url}/ws/denied"):
        pass
    response = refused.value.response
    assert (response.status_code, response.body) == (401, b"members only")
    assert response.headers["www-authenticate"] == "Basic"


def test_websocket_to_nowhere(server: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"{server.ws_url}/ws/nowhere"):
        pass
    assert refused.value.response.status_code == 403
