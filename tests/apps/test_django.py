"""Django's ASGI handler behind the server. Django refuses the lifespan scope, as the specification lets it."""

import hashlib
import socket

import httpx

from apps.running import SERVED, RunningServer

APP = "django_app:app"


def test_sync_view(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/sync?a=1&b=%20").text == "GET /sync?a=1&b=%20"


def test_async_view(server: RunningServer) -> None:
    answer = httpx.get(f"{server.url}/async", params={"name": "Ada é"}).json()
    assert answer == {"name": "Ada é", "host": f"127.0.0.1:{server.port}", "secure": False}


def test_session_cookie(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert [client.get("/visits").json()["visits"] for _ in range(3)] == [1, 2, 3]


def test_upload(server: RunningServer) -> None:
    content = bytes(range(256)) * 12_000  # above 2.5 MB Django spools to a file
    answer = httpx.post(f"{server.url}/upload", files={"file": ("a.bin", content)}, data={"note": "big"}).json()
    assert answer == {"note": "big", "sha256": hashlib.sha256(content).hexdigest()}


def test_body(server: RunningServer) -> None:
    assert httpx.post(f"{server.url}/body", content=b"x" * 100_000).text == "100000"
    assert httpx.post(f"{server.url}/body", content=iter([b"x" * 1000] * 50)).text == "50000"


def test_csrf_and_host_checks(server: RunningServer) -> None:
    assert httpx.post(f"{server.url}/guarded").status_code == 403
    assert httpx.get(f"{server.url}/sync", headers={"host": "evil.example"}).status_code == 400


def test_stream(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/stream").text == "".join(f"{number}\n" for number in range(100))


def test_stream_is_cancelled_when_the_client_leaves(server: RunningServer) -> None:
    with httpx.stream("GET", f"{server.url}/endless") as response:
        assert next(response.iter_bytes()).startswith(b"tick")
    assert httpx.get(f"{server.url}/wait-until-gone", timeout=15).text == "cancelled"


def test_view_is_cancelled_when_the_client_leaves(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        server.wait_for_log("the slow view has begun")
    assert httpx.get(f"{server.url}/wait-until-gone", timeout=15).text == "cancelled"


def test_file(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/file")
    assert response.content == (SERVED / "django_app.py").read_bytes()
    assert response.headers["content-length"] == str(len(response.content))


def test_errors(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/boom").status_code == 500  # Django answers and logs it itself
    assert httpx.get(f"{server.url}/nowhere").status_code == 404
