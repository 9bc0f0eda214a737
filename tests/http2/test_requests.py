"""One request, one response: RFC 9113 §8, and the scope that comes of it."""

from __future__ import annotations

import json

import pytest
from support.http2 import ErrorCodes, Http2, Stream, http2
from support.raw import connected, get
from support.server import ServerProcess

OPTIONS = ("--limit-body-size", "300000", "--limit-head-fields", "20", "--root-path", "/root")


GET = [(":method", "GET"), (":scheme", "http"), (":path", "/")]


def scope_of(connection: Http2, path: str = "/", method: str = "GET", fields: object = ()) -> dict[str, object]:
    found: dict[str, object] = json.loads(connection.get(path, method, fields).body)  # type: ignore[arg-type]
    return found


def test_the_scope_of_a_stream(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        scope = scope_of(
            connection, "/?a=1&b=%20", "POST", [("accept", "*/*"), ("cookie", "a=1"), ("x-y", "z"), ("cookie", "b=2")]
        )
        client = list(connection.sock.getsockname())
    assert scope["headers"] == [["host", "test.example"], ["accept", "*/*"], ["cookie", "a=1; b=2"], ["x-y", "z"]]
    expected = {
        "type": "http", "http_version": "2", "method": "POST", "scheme": "http", "path": "/root/", "raw_path": "/root/",
        "query_string": "a=1&b=%20", "root_path": "/root", "client": client, "server": ["127.0.0.1", server.port],
    }  # fmt: skip
    assert {key: scope[key] for key in expected} == expected
    assert scope["extensions"] == {
        f"http.response.{name}": {} for name in ("pathsend", "zerocopysend", "early_hint", "trailers")
    }


def test_heads_that_repeat_and_heads_that_change_are_told_apart(server: ServerProcess) -> None:
    """What a connection remembers of earlier requests never shows in later ones."""
    with http2(server.address) as connection:
        for _ in range(3):
            for n in range(4):
                streams = [
                    connection.begin(f"/?{n}{i % 2}", fields=[("x-n", str(n)), ("x-i", str(i % 3))]) for i in range(6)
                ]
                for i, stream in enumerate(streams):
                    scope = json.loads(connection.response(stream).body)
                    assert scope["query_string"] == f"{n}{i % 2}"
                    assert scope["headers"][1:] == [["x-n", str(n)], ["x-i", str(i % 3)]]


def test_http_1_and_http_2_share_a_port(server: ServerProcess) -> None:
    assert json.loads(get(server.address, "/").body)["http_version"] == "1.1"
    with http2(server.address) as connection:
        assert scope_of(connection)["http_version"] == "2"


def test_the_preface_may_come_in_pieces(server: ServerProcess) -> None:
    for cut in (1, 3, 16, 18, 23, 24, 30):
        with connected(server.address) as plain:
            preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
            plain.send(preface[:cut])
            assert get(server.address, "/empty").status == 200  # a round after the first piece
            plain.send(preface[cut:])
            assert plain.take(9)[3] == 4  # SETTINGS


@pytest.mark.parametrize("size", [0, 1, 13, 16384, 65535, 65536, 299_999])
def test_bodies_come_back_as_they_went(server: ServerProcess, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    for path in ("/echo", "/stream-echo"):
        with http2(server.address) as connection:
            stream = connection.begin(path, "POST", end=False)
            connection.send(stream, data[:size], end=True)
            assert connection.response(stream).body == data[:size]


def test_a_length_that_is_wrong_ends_the_stream(server: ServerProcess) -> None:
    """RFC 9113 §8.1.1: content-length and DATA frames have to agree."""
    for sent, told in ((b"12345", "4"), (b"123", "4")):
        with http2(server.address) as connection:
            stream = connection.begin("/echo", "POST", [("content-length", told)], end=False)
            connection.send(stream, sent, end=True)
            assert connection.response(stream).reset == ErrorCodes.PROTOCOL_ERROR
            assert connection.get("/empty").status == 200


def test_early_hints_come_before_the_response(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        response = connection.get("/early")
    assert response.interim == [
        [(":status", "103"), ("link", "</a.css>; rel=preload")], [(":status", "103"), ("link", "</b.js>; rel=preload")],
    ]  # fmt: skip
    assert (response.status, response.body) == (200, b"later")


def test_a_client_that_expects_100_is_asked_for_its_body(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        stream = connection.begin("/echo", "POST", [("expect", "100-continue")], end=False)
        connection.wait(lambda: bool(connection.streams[stream].interim), "100")
        assert connection.streams[stream].interim == [[(":status", "100")]]
        connection.send(stream, b"here it is", end=True)
        assert connection.response(stream).body == b"here it is"


def test_a_body_that_is_there_is_not_asked_for(server: ServerProcess) -> None:
    """RFC 9110 §10.1.1"""
    with http2(server.address) as connection:
        connection.settled()
        stream = connection.h2.get_next_available_stream_id()
        connection.streams[stream] = Stream()
        fields = [(":method", "POST"), (":scheme", "http"), (":path", "/echo"), (":authority", "a")]
        connection.h2.send_headers(stream, [*fields, ("expect", "100-continue")])
        connection.h2.send_data(stream, b"here it is", end_stream=True)
        connection.flush()
        response = connection.response(stream)
        assert (response.body, response.interim) == (b"here it is", [])


def test_trailers_end_a_response(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        response = connection.get("/trailers")
    assert (response.body, response.trailers) == (b"content", [("x-sum", "1"), ("x-end", "2")])


def test_trailers_end_a_request(server: ServerProcess) -> None:
    """ASGI has no event for them; they are read and dropped."""
    with http2(server.address) as connection:
        stream = connection.begin("/echo", "POST", end=False)
        connection.send(stream, b"content")
        connection.h2.send_headers(stream, [("x-sum", "1")], end_stream=True)
        connection.flush()
        assert connection.response(stream).body == b"content"


def test_fields_of_a_connection_are_left_out(server: ServerProcess) -> None:
    """RFC 9113 §8.2.2"""
    with http2(server.address) as connection:
        response = connection.get("/hop-by-hop")
    names = [name for name, _ in response.fields]
    assert names == [":status", "x-kept", "server", "date", "content-length"]


@pytest.mark.parametrize("status", [200, 204, 304, 404, 599])
def test_an_empty_response_is_one_frame(server: ServerProcess, status: int) -> None:
    with http2(server.address) as connection:
        response = connection.get(f"/empty?{status}")
        assert (response.status, response.body, response.ended) == (status, b"", True)


def test_head_gets_the_head(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        response = connection.get("/large?1000", "HEAD")
        assert (response.status, response.body) == (200, b"")
        assert connection.get("/large?1000").get("content-length") == "1000"


def test_options_may_ask_for_the_server(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        assert connection.get("*", "OPTIONS").status in (200, 500)
        assert connection.get("*").status == 400


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (GET, 400),
        ([*GET, (":authority", "a"), ("host", "b")], 400),
        ([*GET, (":authority", "a"), ("expect", "tea")], 417),
        ([*GET, (":authority", "a"), ("content-length", "300001")], 413),
        ([*GET[:2], (":path", "/" + "a" * 9000), (":authority", "a")], 414),
        ([*GET, (":authority", "a"), *[("x", "y")] * 20], 431),
        ([(":method", "CONNECT"), (":authority", "a:1")], 501),
    ],
)  # fmt: skip
def test_a_refused_request_costs_its_stream_only(
    server: ServerProcess, fields: list[tuple[str, str]], status: int
) -> None:
    mark = server.mark()
    with http2(server.address) as connection:
        stream = connection.begin_with(fields, end=status != 413)
        assert connection.response(stream).status == status
        assert connection.get("/empty").status == 200
    server.wait_for_log(rf": {status}, ", since=mark)


def test_a_body_that_grows_too_large_is_refused(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        stream = connection.begin("/echo", "POST", end=False)
        for _ in range(300_001 // 10_000 + 1):
            connection.send(stream, b"x" * 10_000)
        response = connection.response(stream)
        assert (response.status, response.ended) == (413, True)
        assert connection.get("/empty").status == 200


def test_failures_of_the_application_cost_their_stream_only(server: ServerProcess) -> None:
    server.expect_error("LookupError")
    with http2(server.address) as connection:
        before, middle = connection.begin("/fail"), connection.begin("/fail-late")
        assert connection.response(before).status == 500
        late = connection.response(middle)
        assert (late.status, late.body, late.reset) == (200, b"begun", ErrorCodes.INTERNAL_ERROR)
        assert connection.get("/empty").status == 200


def test_after_the_end_nothing_more_can_be_sent(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        assert connection.get("/after-the-end").body == b"complete"

        def counts() -> dict[str, int]:
            found: dict[str, int] = json.loads(connection.get("/_counts").body)
            return found

        connection.wait(lambda: "after the end MessageError" in counts(), "the application's end")
        assert counts()["after the end http.disconnect"] >= 1


def test_files_are_sent(server: ServerProcess) -> None:
    with http2(server.address) as connection:
        whole = connection.get("/file").body
        assert len(whole) == 40 << 16
        assert whole[: 1 << 16] * 40 == whole
        assert len(connection.get("/file?part").body) == 1_000_000
