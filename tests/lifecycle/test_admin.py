"""Probes, metrics and commands on --admin, by the command line: real processes, real scrapes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.certificates import client_context, server_files
from support.kernel import wait_until
from support.metrics import Admin
from support.server import ServerProcess, serving

SOURCE = """
import os, time

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    scope["route"] = "/" + path.split("/")[1]
    if path == "/block":
        time.sleep(60)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
"""
TOKEN = "a-token-of-enough-length"
COUNTED = re.compile(r"_total\b|_bucket\b|_sum\b|_count\b")


@contextmanager
def served(tmp_path: Path, *options: str, source: str = SOURCE) -> Iterator[tuple[ServerProcess, Admin]]:
    (tmp_path / "main.py").write_text(source)
    places = ("--runtime-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
    with serving(
        "main:app", "--admin", "127.0.0.1:0", "--no-access-log", *places, *options, directory=tmp_path
    ) as server:
        port = int(server.wait_for_log(r"probes, metrics and commands on http://127\.0\.0\.1:(\d+)")[1])
        yield server, Admin(port)


def ask(server: ServerProcess, path: str, times: int = 1) -> set[int]:
    """The pids of those who answered."""
    found = set()
    for _ in range(times):
        connection = http.client.HTTPConnection(*server.address, timeout=20)
        connection.request("GET", path)
        found.add(int(connection.getresponse().read()))
        connection.close()
    return found


def not_below(before: dict[str, float], after: dict[str, float]) -> None:
    shrunk = {
        name: (value, after.get(name))
        for name, value in before.items()
        if COUNTED.search(name) and after.get(name, -1) < value
    }
    assert not shrunk


def test_counters_outlive_their_workers(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as (server, admin):
        # Each counts its own requests; what has been answered may be published a turn later.
        pids = ask(server, "/a/1", 40)
        name = "http_server_request_duration_seconds_count{http_request_method=GET,http_response_status_code=200"
        name += ",http_route=/a,network_protocol_version=1.1,url_scheme=http}"
        wait_until(lambda: admin.metrics().get(name) == 40, "all are counted")
        before = admin.metrics()
        assert before["swell_worker_starts_total"] == 2
        os.kill(pids.pop(), signal.SIGKILL)
        wait_until(lambda: admin.metrics().get("swell_worker_exits_total{cause=crash}") == 1, "the crash is counted")
        killed = admin.metrics()
        not_below(before, killed)
        assert killed[name] == 40
        wait_until(lambda: admin.metrics()["swell_workers{state=ready}"] == 2, "it is replaced")
        status, _, answer = admin.ask("POST", "/api/reload", "{}", swell_admin="1")
        assert status == 200, answer
        wait_until(
            lambda: admin.metrics().get("swell_worker_exits_total{cause=reload}") == 2, "the old ones have ended"
        )
        reloaded = admin.metrics()
        not_below(killed, reloaded)
        assert (reloaded[name], reloaded["swell_generation"]) == (40, 2)
        ask(server, "/a/1", 2)
        wait_until(lambda: admin.metrics()[name] == 42, "new ones count on")
        status, _, _ = admin.ask("POST", "/api/scale", '{"workers": 1}', swell_admin="1")
        assert status == 200
        wait_until(
            lambda: admin.metrics().get("swell_worker_exits_total{cause=scaled down}") == 1, "one of them has ended"
        )
        after = admin.metrics()
        not_below(reloaded, after)
        assert after["swell_workers_target"] == 1
        assert after["swell_scaling_decisions_total{direction=down,rule=command}"] == 1
        assert after["swell_scaling_reason_info{guard=,rule=command}"] == 1


def test_a_new_parent_counts_on(tmp_path: Path) -> None:
    with served(tmp_path) as (server, admin):
        ask(server, "/a/1", 20)
        wait_until(lambda: admin.metrics()["swell_responses_total{class=2xx}"] == 20, "all are counted")
        os.kill(server.worker, signal.SIGKILL)
        wait_until(lambda: admin.metrics()["swell_worker_starts_total"] == 2, "it is replaced")
        wait_until(lambda: admin.metrics()["swell_workers{state=ready}"] == 1, "its successor is ready")
        before = admin.metrics()
        old = admin.document("/api/status")[1]["instance"]["pid"]
        server.process.send_signal(signal.SIGUSR2)

        def replaced() -> bool:
            # The listening socket is passed on; a connection that the old parent has accepted may be cut.
            with contextlib.suppress(OSError, http.client.HTTPException):
                return bool(admin.document("/api/status")[1]["instance"]["pid"] != old)
            return False

        wait_until(replaced, "the new parent serves", 40)
        after = admin.metrics()
        not_below(before, after)
        assert after["swell_responses_total{class=2xx}"] == 20
        assert after["swell_worker_exits_total{cause=crash}"] == 1
        assert after["process_start_time_seconds"] == before["process_start_time_seconds"]
        assert not list((tmp_path / "run").glob("*/counted"))


def test_handshakes_are_counted(tmp_path: Path) -> None:
    certificate, key = server_files()
    with served(tmp_path, "--ssl-certfile", certificate, "--ssl-keyfile", key) as (server, admin):
        with httpx.Client(verify=client_context(), trust_env=False) as client:
            assert client.get(f"https://localhost:{server.port}/a/1").status_code == 200
        with socket.create_connection(server.address, 20) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            while plain.recv(4096):
                pass
        name = "swell_tls_handshakes_failed_total{reason=without tls}"
        wait_until(lambda: admin.metrics()[name] == 1, "the failed one is counted")
        assert admin.metrics()["swell_tls_handshakes_total{resumed=no}"] == 1
        requests = {name for name in admin.metrics() if name.startswith("http_server_request_duration_seconds_count")}
        assert all("url_scheme=https" in name for name in requests)
        assert len(requests) == 1


def test_probes_answer_while_the_only_worker_is_stuck(tmp_path: Path) -> None:
    with served(tmp_path, "--timeout-worker-stuck", "60s") as (server, admin):
        for path in ("/livez", "/readyz", "/startupz"):
            assert admin.document(path)[0] == 200
        connection = http.client.HTTPConnection(*server.address, timeout=20)
        connection.request("GET", "/block")
        wait_until(lambda: admin.metrics()["swell_workers{state=stuck}"] == 1, "it is seen to be stuck")
        assert admin.document("/livez")[0] == 200  # the parent is about to put it right
        status, document = admin.document("/readyz")
        assert (status, document["ready"], document["workers"]) == (503, False, 0)
        assert admin.metrics()["swell_worker_silence_seconds{slot=0}"] > 0
        _, status_document = admin.document("/api/status")
        assert status_document["workers"][0]["current"]["line"] == "GET /block"
        os.kill(server.worker, signal.SIGKILL)
        connection.close()
        wait_until(lambda: admin.document("/readyz")[0] == 200, "its successor is ready")


def test_readiness_ends_before_serving_does(tmp_path: Path) -> None:
    with served(tmp_path, "--drain-grace", "2s") as (server, admin):
        assert admin.document("/readyz")[0] == 200
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: admin.document("/readyz")[0] == 503, "it is not ready any more")
        assert admin.document("/livez")[0] == 200
        if time.monotonic() - begun < 1:
            assert ask(server, "/a/1")
        assert server.wait_for_end() == 0


def test_the_token_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    options = ("--admin-token-file", str(tmp_path / "token"), "--admin-read-only")
    with served(tmp_path, *options) as (_, admin):
        assert admin.ask("GET", "/livez")[0] == 200
        status, fields, body = admin.ask("GET", "/metrics")
        assert (status, fields["www-authenticate"]) == (401, 'Bearer realm="swell"')
        assert json.loads(body)["detail"] == "send the token: Authorization: Bearer TOKEN"
        assert admin.ask("GET", "/metrics", authorization=f"Bearer {TOKEN}")[0] == 200
        status, fields, _ = admin.ask("POST", "/api/session", json.dumps({"token": TOKEN}), swell_admin="1")
        assert status == 200
        cookie, *attributes = fields["set-cookie"].split("; ")
        assert attributes == ["HttpOnly", "SameSite=Strict", "Path=/"]
        assert admin.ask("GET", "/api/status", cookie=cookie)[0] == 200
        status, _, body = admin.ask("POST", "/api/stop", "{}", cookie=cookie, swell_admin="1")
        assert (status, "--admin-read-only" in body) == (403, True)
        assert admin.ask("POST", "/api/session", '{"token": "guessed"}', swell_admin="1")[0] == 401


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--admin", "0.0.0.0:9000"), "can be reached from elsewhere: set --admin-token-file"),
        (("--admin", "example.org:9000"), "can be reached from elsewhere"),
        (("--admin", "unix:/tmp/x"), "write HOST:PORT"),
        (("--admin", "127.0.0.1"), "write HOST:PORT"),
        (("--admin-token-file", "x"), "--admin-token-file is about --admin, which is off"),
        (("--admin", "127.0.0.1:0", "--admin-token-file", "/nowhere"), "there is no such file"),
    ],
)
def test_what_would_be_open_to_all_is_refused(options: tuple[str, ...], complaint: str, tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "swell", "main:app", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr
