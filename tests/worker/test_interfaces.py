"""Applications that are not ASGI 3: WSGI in a bounded pool of threads (PEP 3333), and ASGI 2."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.server import ServerProcess, serving

from worker.launching import SERVED

THREADS = 3
LOOPS = ("asyncio", "uvloop")


@pytest.fixture(scope="module", params=LOOPS)
def module_server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    options = ["--interface", "wsgi", "--wsgi-threads", str(THREADS)]
    with serving("wsgi:app", *options, directory=SERVED, loop=request.param) as server:
        yield server


@pytest.fixture
def server(module_server: ServerProcess) -> ServerProcess:
    return module_server


@contextmanager
def ask(
    server: ServerProcess,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    *,
    chunked: bool = False,
) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(*server.address, timeout=15)
    pieces = iter([body[:70_000], body[70_000:]]) if chunked and body is not None else body
    try:
        connection.request("GET" if body is None else "POST", path, pieces, headers or {}, encode_chunked=chunked)
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 65_536, 8_000_000])
def test_body_of_any_size(server: ServerProcess, size: int, chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    headers = {"Transfer-Encoding": "chunked"} if chunked else {}
    with ask(server, "/echo", body, headers, chunked=chunked) as response:
        assert response.status == 200
        assert response.read() == body


def test_input_is_an_ordinary_file(server: ServerProcess) -> None:
    with ask(server, "/lines", b"first\nsecond\nthird\nlast") as response:
        assert response.read() == repr((b"first\n", b"sec", [b"ond\n", b"third\n", b"last"], b"")).encode()


def test_environ(server: ServerProcess) -> None:
    with socket.create_connection(server.address, 15) as client:
        client.sendall(
            b"GET /variables?a=%20b HTTP/1.1\r\nHost: test\r\nConnection: close\r\nCookie: a=1\r\nCookie: b=2\r\n"
            b"X-Forwarded-For: 192.0.2.1\r\nX_Forwarded_For: 192.0.2.66\r\nContent-Type: text/x\r\n\r\n"
        )
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.read().decode().splitlines() == [
            "REQUEST_METHOD=GET",
            "PATH_INFO=/variables",
            "QUERY_STRING=a=%20b",
            "HTTP_X_FORWARDED_FOR=192.0.2.1",
            "HTTP_COOKIE=a=1; b=2",
            "CONTENT_TYPE=text/x",
        ]


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/generated", 200, b"0123456789"),
        ("/written", 200, b"written and returned"),
        ("/empty", 204, b""),
    ],
)
def test_response(server: ServerProcess, path: str, status: int, body: bytes) -> None:
    mark = server.mark()
    with ask(server, path) as response:
        assert (response.status, response.read()) == (status, body)
    if path == "/generated":
        server.wait_for_log("generator closed", since=mark)


def test_start_response_with_exc_info_takes_back_what_was_not_sent(server: ServerProcess) -> None:
    with ask(server, "/replaced") as response:
        assert response.status == 503
        assert response.headers["x-second"] == "yes"
        assert "x-first" not in response.headers
        assert response.read() == b"sorry"


def test_start_response_with_exc_info_after_the_first_byte_raises_again(server: ServerProcess) -> None:
    server.expect_error("ValueError")
    with ask(server, "/too_late") as response, pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    server.wait_for_log("ValueError: late")


@pytest.mark.parametrize(
    ("path", "error", "text"),
    [
        ("/failing", "LookupError", "wsgi failed"),
        ("/twice", "RuntimeError", "start_response was called twice"),
        ("/silent", "RuntimeError", "without calling start_response"),
    ],
)
def test_a_failure_is_a_500_with_a_traceback(server: ServerProcess, path: str, error: str, text: str) -> None:
    server.expect_error(error)
    with ask(server, path) as response:
        assert response.status == 500
    server.wait_for_log(f"{error}: .*{text}")


def test_the_pool_is_bounded(server: ServerProcess) -> None:
    answers: list[int] = []

    def one() -> None:
        with ask(server, "/busy") as response:
            answers.append(int(response.read()))

    threads = [threading.Thread(target=one) for _ in range(4 * THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == len(threads)
    assert max(answers) == THREADS


def test_clients_that_leave_give_their_threads_back(server: ServerProcess) -> None:
    # more of them than threads: a thread that stayed behind each would leave none for the last request
    for _ in range(2 * THREADS):
        mark = server.mark()
        with socket.create_connection(server.address, 15) as client:
            client.sendall(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
        server.wait_for_log("generator closed", since=mark)
    with ask(server, "/written") as response:
        assert response.read() == b"written and returned"


def test_an_upload_that_breaks_off_is_an_error_and_frees_the_thread(server: ServerProcess) -> None:
    server.expect_error("ConnectionResetError")
    for _ in range(2 * THREADS):
        mark = server.mark()
        with socket.create_connection(server.address, 15) as client:
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        server.wait_for_log("ConnectionResetError: the client left", since=mark)
    with ask(server, "/echo", b"whole") as response:
        assert response.read() == b"whole"


@pytest.mark.parametrize("loop", LOOPS)
def test_flask(loop: str) -> None:
    options = ["--interface", "wsgi", "--factory"]
    with serving("wsgi:flask_app", *options, directory=SERVED, loop=loop) as server:
        server.expect_error("OSError")
        with ask(server, "/upload", b"x" * 3_000_000, {"Content-Type": "application/octet-stream"}) as response:
            assert json.load(response) == {"size": 3_000_000, "form": {}}
        form = {"Content-Type": "application/x-www-form-urlencoded", "Transfer-Encoding": "chunked"}
        with ask(server, "/upload", b"name=value&other=1", form, chunked=True) as response:
            assert json.load(response)["form"] == {"name": "value", "other": "1"}
        with ask(server, "/stream") as response:
            assert response.read() == b"0\n1\n2\n3\n4\n"
        with ask(server, "/error") as response:
            assert response.status == 500
        with ask(server, "/pid") as response:
            assert int(response.read()) == server.worker


ASGI2 = """
class App:
    def __init__(self, scope):
        assert scope["type"] == "http"
        self.path = scope["path"]

    async def __call__(self, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.path.encode()})


def function(scope):
    return App(scope)
"""


@pytest.mark.parametrize("options", [[], ["--interface", "asgi2"]])
@pytest.mark.parametrize("name", ["App", "function"])
def test_asgi2(tmp_path_factory: pytest.TempPathFactory, name: str, options: list[str]) -> None:
    directory = tmp_path_factory.mktemp("asgi2")
    (directory / "main.py").write_text(ASGI2)
    with serving(f"main:{name}", *options, directory=directory) as server, ask(server, "/two") as response:
        assert response.read() == b"/two"
