"""`--https-redirect`: a port without TLS that sends everyone to the one with it. `swell cert`: what to try it with."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from support.certificates import client_context, server_files
from support.server import serving

from swell.cli import main

APPLICATION = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["scheme"].encode()})
"""


def test_requests_without_tls_are_sent_to_https(tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text(APPLICATION)
    certificate, key = server_files()
    files = ("--ssl-certfile", certificate, "--ssl-keyfile", key)
    options = (*files, "--lifespan", "off", "--https-redirect", "0", "--hsts", "1d", "--workers", "2")
    with serving("said:app", *options, directory=tmp_path) as server:
        plain = int(server.wait_for_log(r"listening on http://127\.0\.0\.1:(\d+)")[1])
        with httpx.Client(trust_env=False, timeout=20) as client:
            for method in ("GET", "POST"):
                response = client.request(method, f"http://localhost:{plain}/a%20b/c?d=e&f", content=b"x" * 9)
                assert response.status_code == 308
                assert response.headers["location"] == f"https://localhost:{server.port}/a%20b/c?d=e&f"
                assert "strict-transport-security" not in response.headers
        with httpx.Client(trust_env=False, timeout=20, verify=client_context(), follow_redirects=True) as client:
            response = client.get(f"http://localhost:{plain}/")
            assert response.text == "https"
            assert response.headers["strict-transport-security"] == "max-age=86400"
        with socket.create_connection(("127.0.0.1", plain), timeout=20) as nameless:
            nameless.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert nameless.recv(100).startswith(b"HTTP/1.1 400")


def test_a_certificate_for_development_is_made_and_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "said.py").write_text(APPLICATION)
    assert main(["cert", "self-signed", "--out", str(tmp_path / "dev")]) == 0
    assert "swell APP --ssl-certfile" in capsys.readouterr().out
    certificate, key = tmp_path / "dev" / "cert.pem", tmp_path / "dev" / "key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    text = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-text"], capture_output=True, check=True, timeout=30
    ).stdout.decode()
    assert "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in text
    assert "ecdsa-with-SHA256" in text
    assert re.search(r"CA:FALSE", text)
    options = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key), "--lifespan", "off")
    with serving("said:app", *options, directory=tmp_path) as server:
        context = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(trust_env=False, timeout=20, verify=context) as client:
            for host in ("localhost", "127.0.0.1"):
                assert client.get(f"https://{host}:{server.port}/").text == "https"


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["cert", "self-signed", "--days", "0"], 2, "--days must lie between"),
        (["cert", "self-signed", "a b"], 2, "is no host name"),
        (["cert", "other"], 2, "there is only swell cert self-signed"),
        (["cert", "self-signed", "--wat"], 2, "unknown option --wat"),
    ],
)
def test_wrong_words_are_refused(words: list[str], code: int, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    assert reason in capsys.readouterr().err


def test_files_that_are_there_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cert", "self-signed", "my.test", "--out", str(tmp_path)]) == 0
    before = (tmp_path / "key.pem").read_text()
    assert main(["cert", "self-signed", "--out", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "key.pem").read_text() == before
    assert main(["cert", "self-signed", "--out", str(tmp_path), "--force"]) == 0
    assert (tmp_path / "key.pem").read_text() != before
