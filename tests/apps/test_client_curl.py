"""curl as a client: HTTP/1.0, Expect: 100-continue, chunked uploads, HEAD, several requests on one connection."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from apps.running import RunningServer

APP = "echo_app:app"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def curl(*arguments: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--max-time", "20", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def seen(*arguments: str, stdin: bytes = b"") -> Any:
    return json.loads(curl(*arguments, stdin=stdin))


def test_get(server: RunningServer) -> None:
    report = seen(f"{server.url}/path?query", "-H", "X-One: 1")
    assert (report["method"], report["path"], report["headers"]["x-one"]) == ("GET", "/path", "1")


def test_http_1_0(server: RunningServer) -> None:
    answer = curl("--http1.0", "-i", f"{server.url}/stream")
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.")
    assert "transfer-encoding" not in head.lower()
    assert json.loads(body)["http_version"] == "1.0"


def test_head(server: RunningServer) -> None:
    answer = curl("--head", server.url)
    assert answer.startswith("HTTP/1.1 200")
    assert answer.endswith("\r\n\r\n")


def test_form_and_json(server: RunningServer) -> None:
    assert seen(server.url, "-d", "a=1", "-d", "b=2")["size"] == 7
    assert seen(server.url, "--json", '{"a": 1}')["headers"]["content-type"] == "application/json"


def test_expect_continue(server: RunningServer, tmp_path: Path) -> None:
    body = bytes(range(256)) * 8_000
    (tmp_path / "body").write_bytes(body)
    done = subprocess.run(
        ["curl", "-sv", "--max-time", "20", "-H", "Expect: 100-continue", "-T", str(tmp_path / "body"), server.url],
        capture_output=True,
        check=True,
    )
    assert b"< HTTP/1.1 100 Continue" in done.stderr
    assert json.loads(done.stdout)["sha256"] == hashlib.sha256(body).hexdigest()


def test_chunked_upload_from_a_pipe(server: RunningServer) -> None:
    body = bytes(range(256)) * 2_000
    report = seen(server.url, "-T", "-", stdin=body)
    assert (report["method"], report["sha256"]) == ("PUT", hashlib.sha256(body).hexdigest())
    assert report["headers"]["transfer-encoding"] == "chunked"


def test_several_requests_on_one_connection(server: RunningServer) -> None:
    answers = curl(f"{server.url}/[1-5]", "-w", "\\n%{num_connects}\\n").strip().split("\n")
    assert [json.loads(line)["path"] for line in answers[::2]] == ["/1", "/2", "/3", "/4", "/5"]
    assert answers[1::2] == ["1", "0", "0", "0", "0"]


def test_large_answer(server: RunningServer, tmp_path: Path) -> None:
    curl(f"{server.url}/large", "-o", str(tmp_path / "large"))
    assert (tmp_path / "large").read_bytes() == bytes(range(256)) * 40_000


def test_path_is_left_alone(server: RunningServer) -> None:
    assert seen("--path-as-is", f"{server.url}/a/../b//c/%2e")["path"] == "/a/../b//c/."
