"""What an access line says: fields, times, refusals, ends, and that nothing a client sends can forge one."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.raw import connected
from websockets.sync.client import connect

from telemetry.support import APP, SERVED, access_entries, ask, logged

JSON = ("--log-format", "json")
TRACE = b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def by_path(path: Path) -> dict[str, dict[str, Any]]:
    return {entry["path"]: entry for entry in access_entries(path) if "path" in entry}


def test_every_field_is_there_and_right(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with logged(log, *JSON, loop=loop) as server, connected(server.address) as connection:
        client = "{}:{}".format(*connection.socket.getsockname())
        before = datetime.now().astimezone()
        ask(connection, "/post?a=%20b&c", b"user-agent: me/1", TRACE, method="POST", body=b"12345")
        ask(connection, "/head", method="HEAD")
        ask(connection, "/status/404")
    posted, headed, missing = access_entries(log)
    for name in ("duration_ms", "first_byte_ms", "dispatch_ms", "time"):
        assert name in posted, name
    assert abs((datetime.fromisoformat(posted["time"]) - before).total_seconds()) < 30
    assert {
        name: posted[name] for name in posted if name not in ("time", "duration_ms", "first_byte_ms", "dispatch_ms")
    } == {
        "level": "info",
        "logger": "swell.access",
        "client": client,
        "method": "POST",
        "path": "/post?a=%20b&c",
        "http_version": "1.1",
        "user_agent": "me/1",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "traceparent": TRACE.partition(b": ")[2].decode(),
        "status": 200,
        "bytes_in": 5,
        "bytes_out": 13,
    }
    assert (headed["method"], headed["bytes_out"]) == ("HEAD", 0)
    assert missing["status"] == 404
    assert "user_agent" not in missing
    assert "trace_id" not in missing


def test_times_are_measured_from_the_head(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with logged(log, *JSON, loop=loop) as server, connected(server.address) as connection:
        ask(connection, "/sleep")
    (entry,) = access_entries(log)
    assert 0 <= entry["dispatch_ms"] < entry["first_byte_ms"] <= entry["duration_ms"]
    assert entry["first_byte_ms"] >= 99
    assert entry["dispatch_ms"] < 99


def test_dispatch_delay_counts_the_time_in_the_queue(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    options = ("--limit-concurrency", "1", "--limit-queue", "1")
    with logged(log, *JSON, *options, loop=loop) as server, connected(server.address) as first:
        first.send(b"GET /sleep HTTP/1.1\r\nhost: a\r\n\r\n")
        with connected(server.address) as second, connected(server.address) as third:
            second.send(b"GET /queued HTTP/1.1\r\nhost: a\r\n\r\n")
            third.send(b"GET /third HTTP/1.1\r\nhost: a\r\n\r\n")
            statuses = sorted(c.response().status for c in (first, second, third))
            assert statuses == [200, 200, 503]
    entries = access_entries(log)
    refused = [entry for entry in entries if entry["status"] == 503]
    waited = [entry for entry in entries if entry["status"] == 200 and entry["path"] != "/sleep"]
    assert [entry["refused"] for entry in refused] == ["the server is busy"]
    assert refused[0]["rfc"] == "RFC 9110 §15.6.4"
    assert refused[0]["path"] in ("/queued", "/third")
    # The one in front slept for 100 ms; the queue was entered a little later.
    assert [entry["dispatch_ms"] > 20 for entry in waited] == [True]


def test_without_eager_start_the_delay_ends_with_the_first_sign_of_the_application(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with logged(log, *JSON, "--no-eager-start") as server, connected(server.address) as connection:
        ask(connection, "/post", method="POST", body=b"x")
    (entry,) = access_entries(log)
    assert 0 < entry["dispatch_ms"] <= entry["duration_ms"]


@pytest.mark.parametrize("style", ["json", "text"])
def test_log_injection(style: str, loop: str, tmp_path: Path) -> None:
    """CWE-117: every request is one line, whatever bytes it carries."""
    log = tmp_path / "access.log"
    values = [b'a"b\\c', b"\xff\xfe", "\u202egnp.exe\u2028".encode(), b"\t\x80\x9b31m", "日本".encode(), b"x" * 3000]
    lines = [
        b"GET /\x1b[2J HTTP/1.1",
        b'G"T / HTTP/1.1',
        b"GET /\r\x1b HTTP/1.1",
        b"\x16\x03\x01\x02",
        b"GET /\xff HTTP/1.1",
    ]
    with logged(log, "--log-format", style, loop=loop) as server:
        for value in values:
            with connected(server.address) as connection:
                ask(connection, "/agent", b"user-agent: " + value)
        for line in lines:
            with connected(server.address) as connection:
                connection.send(line + b"\r\nhost: a\r\n\r\n")
                assert connection.response().status == 400
    data = log.read_bytes()
    assert data.count(b"\n") == len(values) + len(lines)
    text = data.decode()
    steering = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]")
    assert not steering.search(text)
    assert "日本" in text
    if style == "json":
        entries = access_entries(log)
        assert [entry["user_agent"] for entry in entries[:2]] == ['a"b\\c', r"\xff\xfe"]
        assert [entry["status"] for entry in entries] == [200] * len(values) + [400] * len(lines)


REFUSED = {
    "no host": (b"GET /a HTTP/1.1\r\n\r\n", 400, "RFC 9112 §3.2", "/a"),
    "two lengths": (
        b"POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        400,
        "RFC 9112 §6.3",
        "/b",
    ),
    "head too large": (
        b"GET /c HTTP/1.1\r\nhost: a\r\n" + b"x: %s\r\n" % (b"y" * 1000) * 200,
        431,
        "RFC 6585 §5",
        "/c",
    ),
    "body too large": (b"POST /d HTTP/1.1\r\nhost: a\r\ncontent-length: 2000\r\n\r\n", 413, "RFC 9110 §15.5.14", "/d"),
    "head too late": (b"GET /e HTTP/1.1\r\nhost:", 408, "RFC 9110 §15.5.9", "/e"),
}


def test_refused_requests_have_status_reason_and_section(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    options = ("--limit-body-size", "1000", "--timeout-header", "0.5")
    with logged(log, *JSON, *options, loop=loop) as server:
        for request, status, section, _ in REFUSED.values():
            with connected(server.address) as connection:
                connection.send(request)
                assert connection.response().status == status
                # The server's own log names the rule too, on one line.
                if status in (400, 431):
                    server.wait_for_log(rf"{status}, .*\({section}\)")
    entries = access_entries(log)
    assert [(entry["status"], entry["rfc"], entry["path"]) for entry in entries] == [
        (status, section, path) for _, status, section, path in REFUSED.values()
    ]
    assert all(entry["refused"] for entry in entries)


def test_a_client_that_left_and_a_response_that_was_cut_are_told_apart(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with logged(log, *JSON, loop=loop) as server:
        server.expect_error("ValueError")
        with connected(server.address) as connection:
            connection.send(b"GET /until-disconnect HTTP/1.1\r\nhost: a\r\n\r\n")
            connection.end()
            connection.rest()
        with connected(server.address) as connection:
            connection.send(b"GET /broken HTTP/1.1\r\nhost: a\r\n\r\n")
            connection.rest()
        with connected(server.address) as connection:
            assert ask(connection, "/raise").status == 500
    entries = by_path(log)
    left, cut, failed = (entries[path] for path in ("/until-disconnect", "/broken", "/raise"))
    assert (left["status"], left["disconnected"]) == (None, True)
    assert (cut["status"], cut["aborted"], cut["bytes_out"]) == (200, True, 4)
    assert failed["status"] == 500
    for entry in (cut, failed):
        assert "disconnected" not in entry


def test_websockets_have_one_line_with_their_close_code(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with logged(log, *JSON, loop=loop) as server:
        url = f"ws://127.0.0.1:{server.port}"
        with connect(f"{url}/closed", compression=None) as client:
            client.send("ahoy")
            assert client.recv(timeout=10) == "ahoy"
            client.close(4001)
        with connect(f"{url}/cut") as client:
            client.send("ahoy")
            client.recv(timeout=10)
            client.socket.close()
        with pytest.raises(Exception, match="403"):
            connect(f"{url}/deny")
        with connect(f"{url}/shutdown"):
            server.stop()
    entries = by_path(log)
    assert (entries["/closed"]["status"], entries["/closed"]["close_code"]) == (101, 4001)
    assert entries["/closed"]["bytes_out"] == 6  # frame head and text
    assert entries["/cut"]["close_code"] == 1006
    assert entries["/deny"]["status"] == 403
    assert entries["/shutdown"]["close_code"] == 1012
    assert len(entries) == 4


def test_the_client_that_a_trusted_proxy_names_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with logged(log, *JSON, "--forwarded-allow-ips", "127.0.0.1") as server, connected(server.address) as connection:
        ask(connection, "/", b"x-forwarded-for: 192.0.2.7")
        ask(connection, "/", b"x-forwarded-for: 2001:db8::7")
        ask(connection, "/")
    clients = [entry["client"] for entry in access_entries(log)]
    assert clients[:2] == ["192.0.2.7", "2001:db8::7"]
    assert clients[2].startswith("127.0.0.1:")


def test_a_line_for_people(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with logged(log, "--request-id", "take", loop=loop) as server, connected(server.address) as connection:
        ask(connection, "/post?a", b"user-agent: me/1", TRACE, b"x-request-id: r-1", method="POST", body=b"12345")
    number = r"\d+\.\d{3}"
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d 127\.0\.0\.1:\d+ "
        rf'"POST /post\?a HTTP/1\.1" 200 {number}ms first={number} dispatch={number} in=5 out=13 '
        r'"me/1" trace=4bf92f3577b34da6a3ce929d0e0e4736 id=r-1\n',
        log.read_text(),
    ), log.read_text()


@pytest.mark.parametrize("options", [("--no-access-log",), ("--log-level", "warning")])
def test_silence(options: tuple[str, ...], tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    # Without the line that tells the address, a socket of ours does.
    with socket.create_server(("127.0.0.1", 0)) as listener, open(log, "wb") as file:
        command = [
            sys.executable,
            "-m",
            "swell",
            APP,
            "--app-dir",
            str(SERVED),
            "--fd",
            str(listener.fileno()),
            *options,
        ]
        with subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, pass_fds=[listener.fileno()]) as process:
            try:
                with connected(listener.getsockname()) as connection:
                    assert ask(connection, "/").status == 200
                    assert ask(connection, "/status/500").status == 500
                process.send_signal(signal.SIGTERM)
                assert process.wait(15) == 0
            finally:
                process.kill()
    assert log.read_bytes() == b""


def test_many_connections_at_once_get_one_line_each(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    def visit(address: tuple[str, int], number: int) -> None:
        with connected(address) as connection:
            for part in range(20):
                ask(connection, f"/{number}/{part}")

    with logged(log, *JSON, loop=loop) as server:
        threads = [threading.Thread(target=visit, args=(server.address, number)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    paths = sorted(entry["path"] for entry in access_entries(log))
    assert paths == sorted(f"/{number}/{part}" for number in range(20) for part in range(20))
