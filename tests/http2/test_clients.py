"""Clients that people use, in clear text with prior knowledge and over TLS."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import sync_playwright
from support.certificates import authority, client_context, own_directory, server_files
from support.http2 import ErrorCodes, http2
from support.server import ServerProcess, serving

from http2.conftest import SERVED

SECONDS = 30


def trusted() -> str:
    """The authority's certificate as a file."""
    path = own_directory() / "authority.pem"
    authority().cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module", params=["http", "https"])
def origin(request: pytest.FixtureRequest) -> Iterator[str]:
    certificate, key = server_files()
    tls = ("--ssl-certfile", certificate, "--ssl-keyfile", key) if request.param == "https" else ()
    with serving("streams:app", *tls, directory=SERVED) as server:
        yield f"{request.param}://localhost:{server.port}"


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl(origin: str) -> None:
    options = ["--http2"] if origin.startswith("https") else ["--http2-prior-knowledge"]
    curl = ["curl", "-sS", "--max-time", str(SECONDS), "--cacert", trusted(), *options]
    scope = json.loads(run(*curl, f"{origin}/?curl"))
    assert (scope["http_version"], scope["scheme"]) == ("2", origin.partition(":")[0])
    assert (
        run(*curl, "-o", "/dev/null", "-w", "%{http_version} %{size_download}", f"{origin}/large?3000000")
        == "2 3000000"
    )
    assert run(*curl, "--data-binary", "x" * 100_000, f"{origin}/stream-echo") == "x" * 100_000


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_httpx(origin: str, library: str) -> None:
    httpx = importlib.import_module(library)

    async def scenario() -> None:
        verify = client_context(alpn=())
        async with httpx.AsyncClient(http1=False, http2=True, verify=verify, timeout=SECONDS) as client:
            answers = await asyncio.gather(*(client.post(f"{origin}/echo", content=b"%d" % n * 999) for n in range(50)))
            for n, answer in enumerate(answers):
                assert (answer.http_version, answer.content) == ("HTTP/2", b"%d" % n * 999)

    asyncio.run(scenario())


def test_h2load(origin: str) -> None:
    """Thirty-two connections of thirty-two streams: everything is answered, nothing is reset."""
    said = run("h2load", "-n", "4096", "-c", "32", "-m", "32", f"{origin}/large?100")
    assert "4096 succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert "status codes: 4096 2xx" in said, said


NODE = """
const http2 = require('http2');
const session = http2.connect(process.argv[1], {ca: require('fs').readFileSync(process.argv[2])});
let left = 20;
for (let n = 0; n < 20; n++) {
  const stream = session.request({':path': '/stream-echo', ':method': 'POST'});
  const pieces = [];
  stream.on('data', piece => pieces.push(piece));
  stream.on('end', () => {
    if (Buffer.concat(pieces).toString() !== String(n).repeat(50000)) { process.exit(3); }
    if (--left === 0) { session.close(() => console.log('done')); }
  });
  stream.end(String(n).repeat(50000));
}
"""


def test_node(origin: str) -> None:
    node = shutil.which("node")
    assert node is not None, "tests/install-system-packages installs it"
    assert run(node, "-e", NODE, origin, trusted()) == "done\n"


def test_tls_chooses_by_alpn() -> None:
    certificate, key = server_files()
    options = ("--ssl-certfile", certificate, "--ssl-keyfile", key)
    with serving("streams:app", *options, directory=SERVED) as server:
        with http2(server.address, tls=client_context(alpn=("http/1.1", "h2"))) as connection:
            scope = json.loads(connection.get("/").body)
            assert (scope["scheme"], scope["http_version"]) == ("https", "2")
            assert scope["extensions"]["tls"]["tls_version"] == 0x0304
            assert connection.get("/large?1000000").body == b"l" * 1_000_000
            assert len(connection.get("/file").body) == 40 << 16
        assert selected(server, ("http/1.1",)) == "http/1.1"
        assert selected(server, ()) is None


@pytest.mark.parametrize(("version", "chosen"), [("1.1", "http/1.1"), ("2", "h2")])
def test_tls_offers_what_is_spoken(version: str, chosen: str) -> None:
    certificate, key = server_files()
    options = ("--ssl-certfile", certificate, "--ssl-keyfile", key, "--http-version", version)
    with serving("streams:app", *options, directory=SERVED) as server:
        assert selected(server, ("h2", "http/1.1")) == chosen


def test_an_end_of_tls_is_told() -> None:
    certificate, key = server_files()
    options = ("--ssl-certfile", certificate, "--ssl-keyfile", key, "--timeout-keep-alive", "0.3")
    tls = client_context(alpn=("h2",))
    with serving("streams:app", *options, directory=SERVED) as server, http2(server.address, tls=tls) as connection:
        assert connection.get("/empty").status == 200
        assert connection.wait_closed() == ErrorCodes.NO_ERROR


def selected(server: ServerProcess, alpn: tuple[str, ...]) -> str | None:
    plain = socket.create_connection(server.address, SECONDS)
    with client_context(alpn=alpn).wrap_socket(plain, server_hostname="localhost") as secure:
        assert isinstance(secure, ssl.SSLSocket)
        return secure.selected_alpn_protocol()


def test_the_way_to_https_is_told() -> None:
    certificate, key = server_files()
    options = ("--ssl-certfile", certificate, "--ssl-keyfile", key, "--https-redirect", "0")
    with serving("streams:app", *options, directory=SERVED) as server:
        port = int(server.wait_for_log(r"listening on http://127\.0\.0\.1:(\d+)")[1])
        with http2(("127.0.0.1", port)) as connection:
            response = connection.get("/empty?a")
        assert (response.status, response.get("location")) == (308, f"https://test.example:{server.port}/empty?a")


CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
WEBSOCKET = """() => new Promise((resolve, reject) => {
  const socket = new WebSocket(location.href.replace('https', 'wss'));
  socket.onopen = () => socket.send('from a browser');
  socket.onmessage = event => resolve(event.data);
  socket.onerror = () => reject(new Error('no WebSocket'));
})"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (set CHROMIUM to its path)")
def test_chromium() -> None:
    """A page, requests beside each other and a WebSocket, over one HTTP/2 connection."""
    certificate, key = server_files()
    options = ("--ssl-certfile", certificate, "--ssl-keyfile", key)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
    with serving("streams:app", *options, directory=SERVED) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(f"https://localhost:{server.port}/", timeout=SECONDS * 1000)
        scope = json.loads(page.inner_text("body"))
        assert (scope["http_version"], scope["scheme"]) == ("2", "https")
        fetch = "n => fetch('/stream-echo', {method: 'POST', body: String(n).repeat(9999)}).then(got => got.text())"
        sizes = page.evaluate(
            f"Promise.all([...Array(30).keys()].map({fetch})).then(all => all.map(one => one.length))"
        )
        assert sizes == [9999 * len(str(n)) for n in range(30)]
        assert page.evaluate(WEBSOCKET) == "from a browser"
        browser.close()
        server.wait_for_log(r'"CONNECT / HTTP/2" 200')
