"""Request framing and smuggling over a raw socket: CL.TE, TE.TE, lengths, chunks, trailers, lines. RFC 9112 §5–§7.

Every refused input is sent with an honest request behind it in the same segment: that one must not be served. The
answer is one 4xx or 5xx and the end of the connection, the log has one line with the reason and the RFC's section.
"""

from __future__ import annotations

import re

import pytest

from attacks.target import Target

HOST = b"Host: a.example\r\n"
BEHIND = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"


def post(*fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return (
        b"POST /attack HTTP/"
        + version
        + b"\r\n"
        + HOST
        + b"".join(field + b"\r\n" for field in fields)
        + b"\r\n"
        + body
    )


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


def get(*lines: bytes) -> bytes:
    return b"GET /attack HTTP/1.1\r\n" + HOST + b"".join(lines) + b"\r\n"


def refused(target: Target, data: bytes, *statuses: int) -> None:
    """`data` is answered with one of `statuses`, the connection ends, and nothing behind it is served."""
    target.seen()
    mark = target.server.mark()
    with target.connect() as connection:
        connection.send(data + BEHIND)
        response = connection.response()
        assert response.status in (statuses or (400,)), response
        assert response.closes, response.fields
        connection.wait_closed()
    reached = target.seen()
    assert all(record["path"] != "/smuggled" for record in reached), reached
    assert not any(record.get("complete") for record in reached), reached
    target.server.wait_for_log(rf": {response.status}, .+ \((RFC|PROXY) .*§[\d.]+\)", since=mark)
    lines = [line for line in target.server.log_since(mark) if re.search(r": [45]\d\d, ", line)]
    assert len(lines) == 1, lines


CHUNKED_BODY = b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 5", b"X: y", b"transfer-encoding: CHUNKED"),
    ],
)
def test_01_content_length_and_transfer_encoding(hostile: Target, fields: tuple[bytes, ...]) -> None:
    refused(hostile, post(*fields, body=CHUNKED_BODY))


@pytest.mark.parametrize(
    "coding",
    [
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunkedx",
        b"Transfer-Encoding: chunked, xchunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding:",
        b"Transfer-Encoding: ,chunked",
        b"Transfer-Encoding: chunked;q=1",
        b'Transfer-Encoding: "chunked"',
    ],
)
def test_02_transfer_encoding_unknown_not_final_or_repeated(hostile: Target, coding: bytes) -> None:
    refused(hostile, post(coding, body=CHUNKED_BODY), 400, 501)


def test_02_transfer_encoding_does_not_fall_back_to_content_length(hostile: Target) -> None:
    refused(hostile, post(b"Content-Length: 5", b"Transfer-Encoding: xchunked", body=b"hello"), 400, 501)


def test_02_transfer_encoding_on_http_1_0(hostile: Target) -> None:
    refused(hostile, post(b"Transfer-Encoding: chunked", body=CHUNKED_BODY, version=b"1.0"), 400, 501)


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\t: chunked",
        b" Transfer-Encoding: chunked",
        b"\tTransfer-Encoding: chunked",
        b"X: y\r\n Transfer-Encoding: chunked",
        b"X: y\nTransfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding: \x0cchunked",
        b"Transfer-Encoding: chunked\x0b",
        b"Transfer-Encoding: \xa0chunked",
        b"Transfer-Encoding: \x85chunked",
        b"Transfer-Encoding: chunked\xa0",
        b"Transfer-Encoding: \x00chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: chunk\r\n ed",
        b"Transfer\xadEncoding: chunked\r\nTransfer-Encoding: \xff",
        b"\x00Transfer-Encoding: chunked",
        b"Transfer-Encoding\x00: chunked",
        b"Transfer-Encoding: chunked\x00",
        b"Transfer-Encoding: 'chunked'",
        b"Transfer-Encoding: ch\xc5\xbfunked",
        b":Transfer-Encoding: chunked",
    ],
)
def test_03_transfer_encoding_obfuscated(hostile: Target, line: bytes) -> None:
    refused(hostile, post(line, body=CHUNKED_BODY), 400, 501)
    # Beside a length, which some would fall back to.
    refused(hostile, post(b"Content-Length: 15", line, body=CHUNKED_BODY), 400, 501)


@pytest.mark.parametrize("line", [b"Transfer_Encoding: chunked", b"X-Transfer-Encoding: chunked"])
def test_03_other_names_are_not_transfer_encoding(hostile: Target, line: bytes) -> None:
    """They are ordinary fields: the body is what the length says."""
    hostile.seen()
    with hostile.connect() as connection:
        connection.send(post(line, b"Content-Length: 5", body=b"hello") + BEHIND)
        assert (connection.response().status, connection.response().status) == (200, 200)
    assert [(record["path"], record["body"]) for record in hostile.seen()] == [("/attack", "hello"), ("/smuggled", "")]


@pytest.mark.parametrize(
    "value",
    [
        b"+5", b"-5", b"-0", b"5_0", b"1_0", b"0x5", b"0b1", b"5,5", b"5, 5", b"", b" ", b"5 5", b"5;", b"5.0", b"5e0",
        b"five", b"\xd9\xa5", b"\xb2", b"5\x0b", b"\x0c5", b"\xa05", b"5\x00", b"9" * 20, b"18446744073709551616",
        b"18446744073709551621", b"4294967301" * 3, b"1" * 4000,
    ],
)  # fmt: skip
def test_04_content_length_syntax(hostile: Target, value: bytes) -> None:
    refused(hostile, post(b"Content-Length: " + value, body=b"hello"))


@pytest.mark.parametrize("pair", [(b"5", b"5"), (b"5", b"6"), (b"5", b"0"), (b"0", b"5"), (b"5", b"05"), (b"5", b"")])
def test_04_content_length_twice(hostile: Target, pair: tuple[bytes, bytes]) -> None:
    refused(hostile, post(*(b"Content-Length: " + value for value in pair), body=b"hello"))


@pytest.mark.parametrize(
    "size",
    [
        b"0x5", b"+5", b"-5", b"-1", b"5_0", b"_5", b" 5", b"\t5", b"5 ", b"5\t", b"", b"g", b"5g", b"\xa05", b"5\x00",
        b"\x0b5",
        b"5\x0c", b"5,", b"5.", b"0" * 17, b"1" + b"0" * 16, b"f" * 17, b"0" * 400 + b"5", b"-0", b"00x5",
    ],
)  # fmt: skip
def test_05_chunk_size_syntax(hostile: Target, size: bytes) -> None:
    refused(hostile, chunked(size + b"\r\nhello\r\n0\r\n\r\n"))


@pytest.mark.parametrize("size", [b"ffffffffffffffff", b"8000000000000000", b"7fffffffffffffff"])
def test_05_chunk_size_of_64_bits_allocates_nothing(hostile: Target, size: bytes) -> None:
    """A size that fits is believed and waited for; the sum of two does not wrap around to a small one."""
    hostile.seen()
    with hostile.connect() as connection:
        connection.send(chunked(size + b"\r\nhello"))
        connection.end()
        connection.rest()
    assert not any(record.get("complete") for record in hostile.seen())


@pytest.mark.parametrize(
    "extension",
    [
        b";\nx", b";a\nb", b";a=\n", b";a\rb", b";a=\rb", b";\x00", b';a="\n"', b';a="\r"', b';a="b', b';a="\x00"',
        b';a="b"c', b"; a b", b";=b", b";a==b", b";;", b";a=b;", b" x", b";a=b\x0b", b";a\x7f", b";\xff",
    ],
)  # fmt: skip
def test_06_chunk_extension_syntax(hostile: Target, extension: bytes) -> None:
    refused(hostile, chunked(b"5" + extension + b"\r\nhello\r\n0\r\n\r\n"))
    refused(hostile, chunked(b"5\r\nhello\r\n0" + extension + b"\r\n\r\n"))


def test_06_chunk_extension_of_64_kib(hostile: Target) -> None:
    refused(hostile, chunked(b"5;" + b"a" * 65536 + b"\r\nhello\r\n0\r\n\r\n"))


def test_06_chunk_extensions_in_all(hostile: Target) -> None:
    """Each line is short; together they would be ten times what they carry."""
    refused(hostile, chunked((b"1;" + b"a" * 200 + b"\r\nx\r\n") * 5000 + b"0\r\n\r\n"))


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello\r\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\n\rX",
        b"5\r\nhello\r\n0\r\nXX",
        b"6\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_07_chunk_terminator(hostile: Target, body: bytes) -> None:
    refused(hostile, chunked(body))


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 7, 10, 14])
def test_07_truncated_body_is_not_complete(hostile: Target, cut: int) -> None:
    hostile.seen()
    with hostile.connect() as connection:
        connection.send(chunked(CHUNKED_BODY[:-cut]))
        connection.end()
        assert connection.rest() == b""
    assert [record.get("complete", False) for record in hostile.seen()] == [False]


def test_08_trailers_do_not_become_fields(hostile: Target) -> None:
    hostile.seen()
    with hostile.connect() as connection:
        connection.send(chunked(b"5\r\nhello\r\n0\r\nX-Admin: yes\r\nX-Checksum: 1\r\n\r\n") + BEHIND)
        assert (connection.response().status, connection.response().status) == (200, 200)
    first, second = hostile.seen()
    assert (first["body"], second["path"]) == ("hello", "/smuggled")
    assert "x-admin" not in dict(first["headers"]) | dict(second["headers"])


@pytest.mark.parametrize(
    "trailer",
    [
        b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: b.example", b"Authorization: x",
        b"X-Forwarded-For: 9.9.9.9", b"X : y", b" X: y", b"X",
        b": y", b"X: \x00", b"X: y\nZ: z", b"X: y\r\n folded", b"X\xff: y",
    ],
)  # fmt: skip
def test_08_trailer_forbidden_or_malformed(hostile: Target, trailer: bytes) -> None:
    refused(hostile, chunked(b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n"))


def test_08_trailer_section_too_large(hostile: Target) -> None:
    refused(hostile, chunked(b"5\r\nhello\r\n0\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n"), 431)
    refused(hostile, chunked(b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 10_000 + b"\r\n"), 431)


@pytest.mark.parametrize(
    "lines",
    [
        b"X: y\r\n folded\r\n",
        b"X: y\r\n\tfolded\r\n",
        b"X:\r\n y\r\n",
        b"X : y\r\n",
        b"X\t: y\r\n",
        b": y\r\n",
        b" : y\r\n",
        b"no colon\r\n",
        b"nocolon\r\n",
        b"X(Y): y\r\n",
        b"X\xe4: y\r\n",
        b'"X": y\r\n',
        b"X;Y: y\r\n",
        b"\x00: y\r\n",
    ],
)
def test_09_field_lines(hostile: Target, lines: bytes) -> None:
    refused(hostile, get(lines))


def test_09_leading_space_before_the_first_field(hostile: Target) -> None:
    refused(hostile, b"GET /attack HTTP/1.1\r\n Host: a.example\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"GET /attack HTTP/1.1\nHost: a.example\n\n",
        b"GET /attack HTTP/1.1\r\nHost: a.example\n\r\n",
        b"GET /attack HTTP/1.1\r\nHost: a.example\r\n\n",
        b"GET /attack HTTP/1.1\nHost: a.example\r\n\r\n",
        b"GET /attack HTTP/1.1\rHost: a.example\r\r",
        b"GET /attack HTTP/1.1\r\nHost: a.example\rX: y\r\n\r\n",
        b"GET /attack HTTP/1.1\r\nHost: a.example\r\nX: a\rb\r\n\r\n",
        b"GET /attack HTTP/1.1\r\nHost: a.example\r\r\n\r\n",
        b"\nGET /attack HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"\r\n\r\nGET /attack HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ],
)
def test_10_bare_line_ends(hostile: Target, data: bytes) -> None:
    refused(hostile, data)


@pytest.mark.parametrize("code", [*range(0x09), *range(0x0A, 0x20), 0x7F])
def test_11_control_characters_in_values(hostile: Target, code: int) -> None:
    refused(hostile, get(b"X: a" + bytes([code]) + b"b\r\n"))
    refused(hostile, get(b"X: " + bytes([code]) + b"\r\n"))


def test_11_line_separators_of_python_do_not_split_fields(hostile: Target) -> None:
    """`str.splitlines` knows more line ends than HTTP; bytes above 0x7f are opaque and stay in their value."""
    hostile.seen()
    value = b"a\x85X-Evil: 1\xc2\x85X-Evil: 2\xe2\x80\xa8X-Evil: 3"
    with hostile.connect() as connection:
        connection.send(get(b"X: " + value + b"\r\n"))
        assert connection.response().status == 200
    (record,) = hostile.seen()
    assert record["headers"] == [["host", "a.example"], ["x", value.decode("latin-1")]]


def test_14_nothing_is_served_behind_an_error(hostile: Target) -> None:
    """A good request, a bad one, a good one, in one segment and in single bytes."""
    data = BEHIND.replace(b"smuggled", b"first") + get(b"X : y\r\n") + BEHIND
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        hostile.seen()
        with hostile.connect() as connection:
            connection.send_pieces(pieces)
            assert connection.response().status == 200
            assert connection.response().status == 400
            connection.wait_closed()
        assert [record["path"] for record in hostile.seen()] == ["/first"]


def test_14_bytes_after_the_error_are_not_read_as_requests_later(hostile: Target) -> None:
    """Sent when the answer is there: the connection is over whatever still arrives on it."""
    hostile.seen()
    with hostile.connect() as connection:
        connection.send(get(b"X : y\r\n"))
        assert connection.response().status == 400
        connection.send_pieces([BEHIND] * 3)
        connection.wait_closed()
    assert hostile.seen() == []


def test_14_nothing_is_served_behind_connection_close(hostile: Target) -> None:
    hostile.seen()
    with hostile.connect() as connection:
        connection.send(get(b"Connection: close\r\n") + BEHIND)
        assert connection.response().closes
        connection.wait_closed()
    assert [record["path"] for record in hostile.seen()] == ["/attack"]
