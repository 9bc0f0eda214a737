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
import trustme
from support.certificates import authority, client_context, server_files
from support.http2 import ErrorCodes, http2
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


def test_client_certificates_in_place_of_a_token(tmp_path: Path) -> None:
    certificate, key = server_files("127.0.0.1")
    own, own_key = server_files("operator.example")
    stranger = trustme.CA().issue_cert("operator.example")
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    stranger.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "stranger.pem"))
    (tmp_path / "main.py").write_text(SOURCE)
    options = ("--admin", "0.0.0.0:0", "--admin-ssl-certfile", certificate, "--admin-ssl-keyfile", key)
    places = ("--runtime-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
    authorities = ("--admin-ssl-ca-certs", str(tmp_path / "ca.pem"))
    with serving("main:app", *options, *authorities, *places, "--no-access-log", directory=tmp_path) as server:
        port = int(server.wait_for_log(r"probes, metrics and commands on https://0\.0\.0\.0:(\d+)")[1])

        def ask(path: str, *files: str, method: str = "GET", **headers: str) -> tuple[int, str]:
            context = client_context(alpn=())
            if files:
                context.load_cert_chain(*files)
            with contextlib.closing(
                http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
            ) as connection:
                body = None if method == "GET" else '{"workers": 2}'
                fields = {
                    "content-type": "application/json",
                    **{name.replace("_", "-"): headers[name] for name in headers},
                }
                connection.request(method, path, body, fields)
                response = connection.getresponse()
                return response.status, response.read().decode()

        assert ask("/readyz")[0] == 200
        for path in ("/", "/metrics", "/api/status", "/static/main.js"):
            status, text = ask(path)
            assert (status, "wants a client certificate" in text) == (403, True)
        status, text = ask("/metrics", str(tmp_path / "stranger.pem"))
        assert (status, "is not accepted" in text) == (403, True)
        assert ask("/metrics", own, own_key)[0] == 200
        assert ask("/", own, own_key)[0] == 200
        assert ask("/api/scale", own, own_key, method="POST")[0] == 403
        assert ask("/api/scale", own, own_key, method="POST", Swell_Admin="1")[0] == 200
        # Without TLS there is nothing, not even for a probe.
        with socket.create_connection(("127.0.0.1", port), 20) as plain:
            plain.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert plain.recv(4096).startswith(b"HTTP/1.1 400 ")


STREAMS = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/hold":
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = b"x" * (400_000 if scope["path"] == "/large" else 5)
    await send({"type": "http.response.body", "body": body})
"""


def test_http2_is_counted(tmp_path: Path) -> None:
    with served(tmp_path, "--h2-max-resets", "5", "--timeout-write", "1", source=STREAMS) as (server, admin):

        def reaches(name: str, value: float) -> None:
            wait_until(lambda: admin.metrics()[name] == value, f"{name} is {value}, not {admin.metrics()[name]}")

        with http2(server.address) as connection:
            for _ in range(3):
                assert connection.get("/").status == 200
            held = [connection.begin("/hold") for _ in range(3)]
            connection.settled()
            reaches("swell_http2_connections", 1)
            reaches("swell_http2_streams", 3)
            reaches("swell_http2_streams_opened_total", 6)
            connection.reset(held[0])
            connection.reset(held[1], ErrorCodes.INTERNAL_ERROR)
            reaches("swell_http2_resets_total{by=client,reason=cancel}", 1)
            reaches("swell_http2_resets_total{by=client,reason=other}", 1)
            reaches("swell_http2_streams", 1)
        with http2(server.address, window=0) as connection:
            assert connection.response(connection.begin("/large")).reset == ErrorCodes.ENHANCE_YOUR_CALM
            reaches("swell_http2_resets_total{by=server,reason=stalled}", 1)
        with http2(server.address) as connection:
            for _ in range(10):
                connection.reset(connection.begin("/hold"))
                connection.look()
                if connection.refused:
                    break
            connection.wait_closed()
        reaches("swell_http2_connections_closed_total{reason=resets}", 1)
        with http2(server.address) as connection:
            connection.settled()
            connection.raw(b"\0\0\5" + bytes(6) + b"hello")  # DATA on stream 0
            assert connection.wait_closed() == ErrorCodes.PROTOCOL_ERROR
        reaches("swell_http2_connections_closed_total{reason=protocol}", 1)
        reaches("swell_http2_connections", 0)
        reaches("swell_http2_streams", 0)
        found = admin.metrics()
        assert found["swell_http2_connections_opened_total"] == 4
        # Those that end with their connection are no resets of ours.
        assert found["swell_http2_resets_total{by=server,reason=failed}"] == 0
        assert found["swell_http2_resets_total{by=server,reason=cancelled}"] == 0
        assert found["swell_connections"] == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--admin", "0.0.0.0:9000"), "can be reached from elsewhere: set --admin-token-file"),
        (("--admin", "0.0.0.0:9000", "--admin-ssl-certfile", "main.py"), "--admin-ssl-ca-certs, or use 127.0.0.1"),
        (("--admin", "127.0.0.1:0", "--admin-ssl-ca-certs", "main.py"), "needs a certificate: --admin-ssl-certfile"),
        (("--admin-ssl-ca-certs", "main.py"), "--admin-ssl-ca-certs is about --admin, which is off"),
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
