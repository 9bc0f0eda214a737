"""sse-starlette behind the server: events leave at once, pings go on, a reader that leaves ends its stream."""

import subprocess
import time

import httpx

from apps.running import RunningServer

APP = "sse_app:app"
OPTIONS = ("--timeout-graceful-shutdown", "2")  # an endless stream is given no longer


def test_finite_stream(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/finite")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.replace("\r\n", "\n").strip().split("\n\n")
    assert events[3] == "id: 3\nevent: count\ndata: line 3\ndata: second line"
    assert len(events) == 10


def test_resumed_stream(server: RunningServer) -> None:
    response = httpx.get(f"{server.url}/finite", headers={"last-event-id": "7"})
    assert [line for line in response.text.splitlines() if line.startswith("id")] == ["id: 8", "id: 9"]


def test_first_event_leaves_at_once_and_pings_follow(server: RunningServer) -> None:
    started = time.monotonic()
    with httpx.stream("GET", f"{server.url}/endless", timeout=10) as response:
        parts = response.iter_text()
        assert "you are connected" in next(parts)
        assert time.monotonic() - started < 0.9  # before the first ping
        assert ": ping" in next(parts)
    assert httpx.get(f"{server.url}/wait-until-closed", timeout=15).json() == 0


def test_many_readers_leave(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url, timeout=15) as client:
        for _ in range(20):
            with client.stream("GET", "/endless") as response:
                assert "you are connected" in next(response.iter_text())
        assert client.get("/wait-until-closed").json() == 0


def test_curl_reads_while_it_streams(server: RunningServer) -> None:
    with subprocess.Popen(["curl", "-sN", f"{server.url}/endless"], stdout=subprocess.PIPE, text=True) as curl:
        assert curl.stdout is not None
        try:
            assert curl.stdout.readline().strip() == "event: hello"
            assert curl.stdout.readline().strip() == "data: you are connected"
        finally:
            curl.terminate()
    assert httpx.get(f"{server.url}/wait-until-closed", timeout=15).json() == 0


def test_shutdown_with_a_stream_open(server: RunningServer) -> None:
    """Last in the file: the stream that stays open here must not hold the server's end up."""
    client = httpx.Client(timeout=60)
    response = client.send(client.build_request("GET", f"{server.url}/endless"), stream=True)
    assert response.status_code == 200
    server.closing.append(client.close)
