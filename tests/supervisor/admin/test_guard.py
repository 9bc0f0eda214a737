"""Who may ask the admin application for what."""

from __future__ import annotations

import pytest

from swell.supervisor.admin.guard import COOKIE, OWNER, Guard, Purpose, is_loopback
from swell.supervisor.control.problem import Problem

TOKEN = "0123456789abcdef-token"
HERE = {"host": "127.0.0.1:9000"}
ASKS = {"swell-admin": "1"}


def status(guard: Guard, purpose: Purpose, **headers: str) -> int:
    try:
        guard.check(purpose, {name.replace("_", "-"): value for name, value in headers.items()})
    except Problem as problem:
        return int(problem.status)
    return 200


def test_the_owner_and_probes_are_not_asked() -> None:
    for purpose in Purpose:
        assert status(OWNER, purpose) == 200
    for guard in (Guard(), Guard(token=TOKEN), Guard(token=TOKEN, read_only=True)):
        assert status(guard, Purpose.PROBE, host="anything") == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:9000", 200),
        ("127.0.0.1", 200),
        ("localhost:9000", 200),
        ("[::1]:9000", 200),
        ("[::1]", 200),
        ("evil.example:9000", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.0.7:9000", 403),
        ("", 403),
    ],
)
def test_without_a_token_only_names_of_this_machine_are_answered(host: str, expected: int) -> None:
    """DNS rebinding: the attacker's own name leads here, and the browser takes this for the attacker's site."""
    assert status(Guard(), Purpose.READ, host=host) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 403),
        (ASKS, 200),
        ({**ASKS, "origin": "http://127.0.0.1:9000"}, 200),
        ({**ASKS, "origin": "http://127.0.0.1:9001"}, 403),
        ({**ASKS, "origin": "https://evil.example"}, 403),
        ({**ASKS, "origin": "null"}, 403),
        ({**ASKS, "sec-fetch-site": "same-origin"}, 200),
        ({**ASKS, "sec-fetch-site": "none"}, 200),
        ({**ASKS, "sec-fetch-site": "same-site"}, 403),
        ({**ASKS, "sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_changes_come_from_our_own_page_or_from_no_page(headers: dict[str, str], expected: int) -> None:
    for guard, more in ((Guard(), {}), (Guard(token=TOKEN), {"authorization": f"Bearer {TOKEN}"})):
        try:
            guard.check(Purpose.CHANGE, {**HERE, **headers, **more})
            found = 200
        except Problem as problem:
            found = int(problem.status)
        assert found == expected


def test_the_token_opens_and_nothing_else() -> None:
    guard = Guard(token=TOKEN)
    assert status(guard, Purpose.READ) == 401
    assert status(guard, Purpose.READ, authorization=f"Bearer {TOKEN}") == 200
    assert status(guard, Purpose.READ, authorization=f"bearer  {TOKEN}") == 200
    for wrong in (TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN}, Bearer {TOKEN}"):
        assert status(guard, Purpose.READ, authorization=wrong) == 401
    # Who is somewhere else knows the token; its name for us does not matter.
    assert status(guard, Purpose.READ, authorization=f"Bearer {TOKEN}", host="admin.example") == 200


def test_a_session_is_as_good_as_the_token_until_that_changes() -> None:
    guard = Guard(token=TOKEN)
    cookie = f"a=b; {COOKIE}={guard.session(TOKEN)}"
    assert TOKEN not in cookie
    assert status(guard, Purpose.READ, cookie=cookie) == 200
    assert status(guard, Purpose.READ, cookie=f"{COOKIE}=x") == 401
    assert status(Guard(token=TOKEN + "2"), Purpose.READ, cookie=cookie) == 401
    with pytest.raises(Problem, match="not the token"):
        guard.session("something else")
    with pytest.raises(Problem, match="not the token"):
        Guard().session("")
    assert status(guard, Purpose.SIGN_IN) == 403
    assert status(guard, Purpose.SIGN_IN, swell_admin="1") == 200


def test_read_only_is_for_everybody_but_the_owner() -> None:
    guard = Guard(token=TOKEN, read_only=True)
    given = {"authorization": f"Bearer {TOKEN}", "swell_admin": "1"}
    assert status(guard, Purpose.READ, **given) == 200
    assert status(guard, Purpose.CHANGE, **given) == 403


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "::", "10.0.0.1", "localhost.evil.example")))


@pytest.mark.parametrize("token", [None, TOKEN])
def test_client_certificates_are_asked_for_by_everything_but_probes(token: str | None) -> None:
    guard = Guard(token=token, certificate=True)
    good = {"client_cert_chain": ("-----BEGIN…",), "client_cert_error": None}
    given = {"host": "admin.example", "authorization": f"Bearer {TOKEN}", "swell-admin": "1"}
    for tls in (
        None,
        {},
        {"client_cert_chain": (), "client_cert_error": None},
        {**good, "client_cert_error": "expired"},
    ):
        guard.check(Purpose.PROBE, given, tls)
        for purpose in (Purpose.PAGE, Purpose.READ, Purpose.CHANGE, Purpose.SIGN_IN):
            with pytest.raises(Problem, match="client certificate") as refused:
                guard.check(purpose, given, tls)
            assert refused.value.status == 403
    for purpose in Purpose:
        guard.check(purpose, given, good)
    # A certificate in the browser does not make other sites' pages ours.
    with pytest.raises(Problem, match="evil"):
        guard.check(Purpose.CHANGE, {**given, "origin": "https://evil.example"}, good)
    if token is not None:
        with pytest.raises(Problem, match="send the token"):
            guard.check(Purpose.READ, {"host": "admin.example"}, good)
