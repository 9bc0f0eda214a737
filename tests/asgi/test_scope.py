"""The connection scope: its keys, types and values. ASGI HTTP 2.5, "HTTP Connection Scope"."""

import socket
from typing import Any

import pytest
from support.apps import answer
from support.backends import over_both
from support.client import Fields
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving


def scope_of(
    backend: Backend, target: str = "/", method: str = "GET", fields: Fields | None = None, **options: Any
) -> Scope:
    """The scope that the application gets for this request."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            assert (await client.get(target, method, fields)).status == 200

    serving(backend, app, scenario, **options)
    assert len(seen) == 1
    return seen[0]


def test_has_every_key_of_the_specification_and_no_other(backend: Backend) -> None:
    scope = scope_of(backend, "/a/b?c=d")
    assert type(scope) is dict
    wanted = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "2" if backend.http2 else "1.1",
        "method": "GET",
        "scheme": "https" if backend.tls else "http",
        "path": "/a/b",
        "raw_path": b"/a/b",
        "query_string": b"c=d",
        "root_path": "",
        "headers": [(b"host", b"test")],
    }
    assert {key: scope[key] for key in wanted} == wanted
    assert set(scope) == set(wanted) | {"client", "server", "extensions"}
    assert {key: type(scope[key]) for key in wanted} == {key: type(value) for key, value in wanted.items()}


def test_extensions_are_offered_as_dicts(backend: Backend) -> None:
    extensions = scope_of(backend)["extensions"]
    if backend.tls:
        assert type(extensions.pop("tls")) is dict
    assert extensions == {
        "http.response.early_hint": {},
        "http.response.pathsend": {},
        "http.response.trailers": {},
        "http.response.zerocopysend": {},
    }


def test_client_and_server_addresses(backend: Backend) -> None:
    scope = scope_of(backend)
    if backend.family == socket.AF_UNIX:
        assert scope["client"] is None
        path, port = scope["server"]
        assert path.endswith("swell.sock")
        assert port is None
    else:
        for host, port in (scope["client"], scope["server"]):
            assert host == "127.0.0.1"
            assert type(port) is int
            assert 0 < port < 65536
        assert type(scope["client"]) is type(scope["server"]) is tuple
        assert scope["client"] != scope["server"]


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_a_wildcard_listener_tells_the_address_that_was_reached(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    seen: list[Scope] = []

    class Wildcard(Backend):
        def listener(self, directory: object) -> socket.socket:
            listener = socket.create_server((address, 0), family=family)
            listener.setblocking(False)
            return listener

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        server.address = ("::1" if ":" in address else "127.0.0.1", server.address[1])
        async with server.connect() as client:
            await client.get()
        assert seen[0]["server"] == server.address

    serving(Wildcard("wildcard"), app, scenario)


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/", "/", b"/", b""),
        ("/?", "/", b"/", b""),
        ("/a%20b", "/a b", b"/a%20b", b""),
        ("/a+b", "/a+b", b"/a+b", b""),
        ("/%C3%A4", "/ä", b"/%C3%A4", b""),
        ("/a%2Fb", "/a/b", b"/a%2Fb", b""),
        ("/%2e%2e/x", "/../x", b"/%2e%2e/x", b""),
        ("/a//b/../c", "/a//b/../c", b"/a//b/../c", b""),
        ("/%FF", "/\ufffd", b"/%FF", b""),
        ("/%zz%4", "/%zz%4", b"/%zz%4", b""),
        ("/p?a=%20&b=%ff&c", "/p", b"/p", b"a=%20&b=%ff&c"),
        ("/p?a?b", "/p", b"/p", b"a?b"),
        ("//test/abs", "//test/abs", b"//test/abs", b""),
    ],
)
def test_target(backend: Backend, target: str, path: str, raw_path: bytes, query: bytes) -> None:
    scope = scope_of(backend, target)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


@pytest.mark.http1("absolute form")
@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [("http://test/abs?q", "/abs", b"/abs", b"q"), ("http://test", "/", b"/", b"")],
)
def test_absolute_form(backend: Backend, target: str, path: str, raw_path: bytes, query: bytes) -> None:
    scope = scope_of(backend, target)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


def test_options_asterisk(backend: Backend) -> None:
    scope = scope_of(backend, "*", "OPTIONS")
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("OPTIONS", "*", b"*")


@over_both
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_method(backend: Backend, method: str) -> None:
    assert scope_of(backend, "/", method)["method"] == method


def test_root_path_stands_before_the_path(backend: Backend) -> None:
    scope = scope_of(backend, "/x%20y", root_path="/mounted")
    assert (scope["root_path"], scope["path"]) == ("/mounted", "/mounted/x y")
    assert scope["raw_path"] == b"/mounted/x%20y"


@pytest.mark.http1("HTTP/1.0")
def test_http_1_0(backend: Backend) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.response()).status == 200

    serving(backend, app, scenario)
    assert seen[0]["http_version"] == "1.0"


def test_headers_keep_order_duplicates_and_values(backend: Backend) -> None:
    fields: Fields = [
        (b"X-B", b"1"),
        (b"Accept", b"a, b"),
        (b"x-A", b"\xe4\xff obs-text"),
        (b"X-B", b"2"),
        (b"Cookie", b"a=1"),
        (b"Empty", b""),
        (b"Cookie", b"b=2"),
        (b"Space", b"inner \t space"),
    ]
    if backend.http2:
        # Fields of one name stand together, cookies are one (RFC 9113 §8.2.3).
        wanted = [
            (b"host", b"test"),
            (b"x-b", b"1"),
            (b"x-b", b"2"),
            (b"accept", b"a, b"),
            (b"x-a", b"\xe4\xff obs-text"),
            (b"cookie", b"a=1; b=2"),
            (b"empty", b""),
            (b"space", b"inner \t space"),
        ]
    else:
        wanted = [(b"host", b"test"), *((name.lower(), value) for name, value in fields)]
        fields[-1] = (b"Space", b" \tinner \t space\t ")
    scope = scope_of(backend, fields=fields)
    assert scope["headers"] == wanted
    assert type(scope["headers"]) is list
    assert {type(pair) for pair in scope["headers"]} == {tuple}


def test_state_is_the_lifespans_in_a_copy(backend: Backend) -> None:
    shared: list[int] = []
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"].update(shared=shared, count=0)
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            await send({"type": "lifespan.shutdown.complete"})
            return
        state = scope["state"]
        seen.append((state["count"], state["shared"] is shared, "mine" in state))
        state["count"] += 1
        state["mine"] = True
        state["shared"].append(1)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for _ in range(3):
                await client.get()

    serving(backend, app, scenario, lifespan="on")
    assert seen == [(0, True, False)] * 3
    assert shared == [1, 1, 1]
