"""The token stream: complete, resumable, stopped by a reader that leaves, and read by a real EventSource."""

import json
import subprocess

import httpx
from apps.running import RunningServer

APP = "examples.sse_tokens:app"


def tokens(text: str) -> list[str]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith('data: "')]


def ids(text: str) -> list[str]:
    return [line[4:] for line in text.splitlines() if line.startswith("id: ")]


def test_whole_answer_and_resumption(server: RunningServer) -> None:
    whole = httpx.get(f"{server.url}/stream", params={"prompt": "the sea"}, timeout=20).text
    said, numbers = tokens(whole), ids(whole)
    assert said[0] == "Sea"
    assert whole.endswith(f"event: done\ndata: {len(said)}\n\n")
    middle = len(said) - 5
    rest = httpx.get(
        f"{server.url}/stream", params={"prompt": "the sea"}, headers={"last-event-id": numbers[middle - 1]}, timeout=20
    ).text
    assert tokens(rest) == said[middle:]
    assert ids(rest) == numbers[middle:]


def test_tokens_arrive_one_by_one(server: RunningServer) -> None:
    command = ["curl", "-sN", "--max-time", "20", f"{server.url}/stream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        assert curl.stdout is not None
        try:
            assert curl.stdout.readline() == "retry: 1000\n"
            assert curl.stdout.readline() == "\n"
            assert curl.stdout.readline().startswith("id: ")
            assert curl.poll() is None  # the first token is here and the answer far from complete
        finally:
            curl.terminate()


def test_bounds(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/stream", params={"prompt": "x" * 201}).status_code == 413
    assert httpx.get(f"{server.url}/nowhere").status_code == 404
    assert httpx.post(f"{server.url}/stream").status_code == 405


def test_page(server: RunningServer) -> None:
    response = httpx.get(server.url)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "EventSource" in response.text
