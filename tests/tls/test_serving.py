"""HTTPS with real clients: several certificates, several workers, and what is not TLS."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
import websockets.sync.client
from support.certificates import authority, client_context, server_files
from support.server import ServerProcess, serving

APPLICATION = """
import json, os

async def app(scope, receive, send):
    assert scope["type"] == "http"
    tls = scope["extensions"].get("tls")
    said = {"pid": os.getpid(), "scheme": scope["scheme"], "server": scope["server"], "tls": tls}
    body = json.dumps(said).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("https")
    (directory / "said.py").write_text(APPLICATION)
    return directory


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[ServerProcess]:
    """Two workers, three certificates."""
    certificates = [server_files(), server_files("*.example.org"), server_files(key_type=trustme.KeyType.RSA)]
    options = [word for files in certificates for word in ("--ssl-certfile", files[0], "--ssl-keyfile", files[1])]
    with serving("said:app", "--workers", "2", "--lifespan", "off", *options, directory=directory) as running:
        yield running


def connect(server: ServerProcess, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection(server.address, timeout=20), server_hostname=name)


def test_a_client_library_is_served(server: ServerProcess) -> None:
    with httpx.Client(verify=client_context(), trust_env=False) as client:
        for _ in range(3):
            said = client.get(f"https://localhost:{server.port}/").json()
            assert said["scheme"] == "https"
            assert said["server"] == ["127.0.0.1", server.port]


def test_curl_is_served(server: ServerProcess, tmp_path: Path) -> None:
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    command = ["curl", "-sS", "--max-time", "20", "--cacert", str(tmp_path / "ca.pem")]
    found = subprocess.run([*command, f"https://localhost:{server.port}/"], capture_output=True, check=True, timeout=30)
    assert b'"scheme": "https"' in found.stdout


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_and_what_the_scope_says_of_them(server: ServerProcess, version: ssl.TLSVersion) -> None:
    context = client_context()
    context.minimum_version = context.maximum_version = version
    connection = http.client.HTTPSConnection("localhost", server.port, context=context, timeout=20)
    connection.request("GET", "/")
    said = httpx.Response(200, content=connection.getresponse().read()).json()["tls"]
    assert said["tls_version"] == version.value
    cipher = connection.sock.cipher()
    assert cipher is not None
    known = {"TLS_AES_256_GCM_SHA384": 0x1302, "TLS_AES_128_GCM_SHA256": 0x1301, "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
             "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C, "ECDHE-RSA-AES256-GCM-SHA384": 0xC030}  # fmt: skip
    assert said["cipher_suite"] == known[cipher[0]]
    shown = connection.sock.getpeercert(binary_form=True)
    assert shown is not None
    assert ssl.PEM_cert_to_DER_cert(said["server_cert"]) == shown
    assert (said["client_cert_chain"], said["client_cert_name"], said["client_cert_error"]) == ([], None, None)
    connection.close()


def test_the_name_that_is_asked_for_decides_the_certificate(server: ServerProcess) -> None:
    for name, expected in (("localhost", "localhost"), ("a.example.org", "*.example.org"), ("other.test", "localhost")):
        context = client_context()
        context.check_hostname = False
        with connect(server, context, name) as client:
            found = client.getpeercert()
            assert found is not None
            assert ("DNS", expected) in found["subjectAltName"]


def test_a_client_without_ecdsa_gets_the_rsa_certificate(server: ServerProcess) -> None:
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    with connect(server, context) as client:
        assert client.cipher() == ("ECDHE-RSA-AES128-GCM-SHA256", "TLSv1.2", 128)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_goes_on_at_any_worker(server: ServerProcess, version: ssl.TLSVersion) -> None:
    context = client_context()
    context.minimum_version = context.maximum_version = version
    workers: set[str] = set()
    session = None
    # On a busy machine one may look slow, which the other then helps: it is tried again after 25 s at most.
    deadline = time.monotonic() + 60.0
    while len(workers) < 2:
        assert time.monotonic() < deadline, f"one worker has answered all: {workers}"
        with context.wrap_socket(
            socket.create_connection(server.address, timeout=20), server_hostname="localhost", session=session
        ) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            assert client.session_reused == (session is not None)
            session = client.session
            workers.update(re.findall(r'"pid": (\d+)', answer.decode()))


def test_plain_http_gets_an_answer_that_a_person_can_read(server: ServerProcess) -> None:
    answer = httpx.get(f"http://127.0.0.1:{server.port}/", trust_env=False, timeout=20)
    assert answer.status_code == 400
    assert "https://" in answer.text


def test_what_is_no_tls_is_closed_and_told_once(directory: Path) -> None:
    certificate, key = server_files()
    options = ("--ssl-certfile", certificate, "--ssl-keyfile", key, "--lifespan", "off")
    with serving("said:app", *options, directory=directory) as server:
        for _ in range(20):
            with socket.create_connection(server.address, timeout=20) as client:
                client.sendall(b"\x00\x01\x02")
                assert client.recv(100) == b""
        server.wait_for_log("no TLS connection: the client does not speak TLS")
        assert server.log.count("no TLS connection") == 1


def test_a_tampered_record_ends_the_connection(server: ServerProcess) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with socket.create_connection(server.address, timeout=20) as raw:
        client = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
        client.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        records = bytearray(outgoing.read())
        records[-1] ^= 1
        raw.sendall(records)
        while piece := _received(raw):
            incoming.write(piece)
        with pytest.raises(ssl.SSLError, match=r"BAD_RECORD_MAC|DECRYPT"):
            client.read(1)


def _received(raw: socket.socket) -> bytes:
    try:
        return raw.recv(65536)
    except ConnectionResetError:
        return b""


def test_the_end_is_announced(server: ServerProcess) -> None:
    """close_notify: a socket that takes no ragged end raises when it is missing."""
    raw = socket.create_connection(server.address, timeout=20)
    with client_context().wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200")


def test_addresses_that_say_so_speak_no_tls(directory: Path, tmp_path: Path) -> None:
    certificate, key = server_files()
    path = tmp_path / "plain.sock"
    listen = ("--bind", "127.0.0.1:0", "--bind", f"unix:{path}?tls=off")
    options = ("--ssl-certfile", certificate, "--ssl-keyfile", key, "--lifespan", "off")
    with serving("said:app", *options, directory=directory, listen=listen) as server:
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport) as client:
            assert client.get("http://localhost/").json()["scheme"] == "http"
        with httpx.Client(verify=client_context(), trust_env=False) as client:
            assert client.get(f"https://localhost:{server.port}/").json()["scheme"] == "https"


def test_handshakes_are_on_the_scoreboard(directory: Path) -> None:
    certificate, key = server_files()
    options = ("--ssl-certfile", certificate, "--ssl-keyfile", key, "--lifespan", "off", "--admin", "127.0.0.1:0")
    with serving("said:app", *options, directory=directory) as server:
        admin = server.wait_for_log(r"probes, metrics and commands on (http://\S+)")[1]
        context = client_context()
        with connect(server, context) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            while client.recv(65536):
                pass
            session = client.session
        raw = socket.create_connection(server.address, timeout=20)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as client:
            assert client.session_reused
        assert httpx.get(f"http://127.0.0.1:{server.port}/", trust_env=False, timeout=20).status_code == 400
        said = httpx.get(f"{admin}/metrics", trust_env=False, timeout=20).text
        assert 'swell_tls_handshakes_total{resumed="no"} 1' in said
        assert 'swell_tls_handshakes_total{resumed="yes"} 1' in said
        assert 'swell_tls_handshakes_failed_total{reason="without tls"} 1' in said
        assert re.search(r'http_server_request_duration_seconds_count\{.*url_scheme="https"', said)


def test_websockets_speak_tls(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(
        "async def app(scope, receive, send):\n"
        "    assert (scope['type'], scope['scheme']) == ('websocket', 'wss')\n"
        "    assert scope['extensions']['tls']['tls_version'] == 0x0304\n"
        "    await receive()\n"
        "    await send({'type': 'websocket.accept'})\n"
        "    while (message := await receive())['type'] == 'websocket.receive':\n"
        "        await send({'type': 'websocket.send', 'bytes': message['bytes']})\n"
    )
    certificate, key = server_files()
    options = ("--ssl-certfile", certificate, "--ssl-keyfile", key, "--lifespan", "off")
    with serving("echo:app", *options, directory=tmp_path) as server:
        uri = f"wss://localhost:{server.port}/"
        with websockets.sync.client.connect(uri, ssl=client_context(), proxy=None) as client:
            for size in (0, 5, 100_000):
                client.send(b"x" * size)
                assert client.recv(timeout=20) == b"x" * size
