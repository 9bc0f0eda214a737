"""Who may speak for the client, and what may not be spoken for at all. RFC 7239, X-Forwarded-*."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attacks.target import Target, target


def scope_of(hostile: Target, *fields: str) -> dict[str, object]:
    hostile.seen()
    assert hostile.get("/x", *fields).status == 200
    (record,) = hostile.seen()
    return dict(record)


def client_and_scheme(hostile: Target, *fields: str) -> tuple[object, object]:
    scope = scope_of(hostile, *fields)
    client = scope["client"]
    assert isinstance(client, list)
    return client[0], scope["scheme"]


@pytest.fixture(scope="module")
def strangers() -> Iterator[Target]:
    """Nobody on 127.0.0.1 is trusted."""
    with target("--forwarded-allow-ips", "10.0.0.1") as found:
        yield found


@pytest.fixture(scope="module")
def trusted() -> Iterator[Target]:
    with target("--forwarded-allow-ips", "127.0.0.1,10.0.0.0/8") as found:
        yield found


@pytest.mark.parametrize(
    "fields",
    [
        (
            "X-Forwarded-For: 9.9.9.9",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: evil.example",
            "X-Forwarded-Port: 1",
        ),
        ("Forwarded: for=9.9.9.9;proto=https;host=evil.example",),
        ("X-Real-IP: 9.9.9.9", "X-Client-IP: 9.9.9.9", "True-Client-IP: 9.9.9.9", "Via: 9.9.9.9"),
    ],
)
def test_35_untrusted_peers_speak_for_nobody(strangers: Target, fields: tuple[str, ...]) -> None:
    assert client_and_scheme(strangers, *fields) == ("127.0.0.1", "http")


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("9.9.9.9", "9.9.9.9"),
        ("1.1.1.1, 9.9.9.9", "9.9.9.9"),
        ("1.1.1.1, 9.9.9.9, 10.1.2.3", "9.9.9.9"),
        ("127.0.0.1, 9.9.9.9, 10.1.2.3, 10.0.0.1", "9.9.9.9"),
        ("9.9.9.9:1234", "9.9.9.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
    ],
)
def test_35_right_most_untrusted(trusted: Target, value: str, client: str) -> None:
    """What stands left of the first stranger is the stranger's own claim."""
    assert client_and_scheme(trusted, f"X-Forwarded-For: {value}")[0] == client


def test_35_several_fields_are_one_list(trusted: Target) -> None:
    fields = ("X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-For: 10.1.2.3")
    assert client_and_scheme(trusted, *fields)[0] == "9.9.9.9"


@pytest.mark.parametrize(
    "value",
    [
        "unknown",
        "_hidden",
        "garbage",
        "9.9.9.9.9",
        "999.1.1.1",
        "1.1.1.1, garbage",
        "",
        ",",
        "'; DROP TABLE",
        "a" * 4000,
    ],
)
def test_35_what_is_no_address_is_not_taken_for_one(trusted: Target, value: str) -> None:
    assert client_and_scheme(trusted, f"X-Forwarded-For: {value}")[0] in ("127.0.0.1", None), value


@pytest.mark.parametrize("value", ["javascript", "https, evil", "HTTPS\x80", "h" * 1000, "", "file"])
def test_35_schemes_are_http_or_https(trusted: Target, value: str) -> None:
    assert client_and_scheme(trusted, f"X-Forwarded-Proto: {value}")[1] in ("http", "https")


def test_35_a_long_list_costs_little(trusted: Target) -> None:
    """Sixty kilobytes of hops are walked once."""
    import time

    value = ", ".join(["10.1.2.3"] * 6000)
    started = time.monotonic()
    client_and_scheme(trusted, f"X-Forwarded-For: {value}")
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    "name", ["Root-Path", "Daphne-Root-Path", "SCRIPT_NAME", "Script-Name", "X-Script-Name", "X-Forwarded-Prefix"]
)
def test_36_no_field_sets_the_root_path(trusted: Target, name: str) -> None:
    scope = scope_of(trusted, f"{name}: /evil")
    assert (scope["root_path"], scope["path"]) == ("", "/x")
