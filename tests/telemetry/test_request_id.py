"""Request ids: in the scope, the response, the access log and the log of errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.raw import connected

from telemetry.support import access_entries, ask, logged

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_off_by_default(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with logged(log, "--log-format", "json") as server, connected(server.address) as connection:
        response = ask(connection, "/state", b"x-request-id: theirs")
    assert response.body == b"none"
    assert response.get(b"x-request-id") is None
    assert "request_id" not in access_entries(log)[0]


def test_made_ids_are_unique_sorted_and_everywhere(loop: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    options = ("--log-format", "json", "--request-id", "make", "--request-id-response")
    with logged(log, *options, loop=loop) as server, connected(server.address) as connection:
        responses = [ask(connection, "/state", b"x-request-id: theirs") for _ in range(100)]
    ids = [response.body.decode() for response in responses]
    assert all(UUID7.fullmatch(found) for found in ids)
    assert ids == sorted(set(ids))
    assert [(response.get(b"x-request-id") or b"").decode() for response in responses] == ids
    assert [entry["request_id"] for entry in access_entries(log)] == ids


def test_taken_ids_are_short_and_safe(loop: str, tmp_path: Path) -> None:
    options = ("--request-id", "take", "--request-id-header", "x-correlation")
    with logged(tmp_path / "access.log", *options, loop=loop) as server, connected(server.address) as connection:
        good = [b"a", b"A-Z._~:+/=@9", b"x" * 128]
        assert [ask(connection, "/state", b"X-Correlation: " + value).body for value in good] == good
        for bad in (b"", b"x" * 129, b"a b", b'a"', b"a,b", b"\xe9"):
            assert UUID7.fullmatch(ask(connection, "/state", b"x-correlation: " + bad).body.decode())
        twice = ask(connection, "/state", b"x-correlation: a", b"x-correlation: b")
        assert UUID7.fullmatch(twice.body.decode())
        assert twice.get(b"x-correlation") is None


def test_the_applications_own_field_is_not_doubled(tmp_path: Path) -> None:
    options = ("--request-id", "make", "--request-id-response")
    with logged(tmp_path / "access.log", *options) as server, connected(server.address) as connection:
        assert ask(connection, "/own-id").all(b"x-request-id") == [b"the-applications"]


@pytest.mark.parametrize("path", ["/raise", "/background"])
def test_errors_are_logged_with_the_id(path: str, loop: str, tmp_path: Path) -> None:
    options = ("--request-id", "take", "--request-id-response")
    with logged(tmp_path / "access.log", *options, loop=loop) as server:
        server.expect_error("ValueError")
        with connected(server.address) as connection:
            response = ask(connection, path, b"x-request-id: find-me")
        assert response.get(b"x-request-id") == b"find-me"
        server.wait_for_log(rf"ERROR: 127\.0\.0\.1:\d+ GET {path} id=find-me: exception in the ASGI application")
