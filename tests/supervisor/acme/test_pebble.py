"""Certificates from a real authority, Pebble, which refuses one nonce in five: both challenges, workers, names.

Nothing of it is played: Pebble connects to the server under test and looks, and clients trust nobody but Pebble's root.
"""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.pebble import Pebble, authority
from support.server import serving

from supervisor.acme.site import APPLICATION, ENVIRONMENT, ORDER_SECONDS, ask, connect, issued, serials, site

# The first time, Pebble is built.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with authority(tmp_path_factory.mktemp("pebble"), nonces_refused=20) as running:
        yield running


def test_names_get_certificates_within_the_handshake_and_a_restart_orders_none(pebble: Pebble, tmp_path: Path) -> None:
    names = ("one.test", "two.test")
    context, before = pebble.context(), pebble.orders
    with site(pebble, tmp_path, names, "--workers", "3", "--acme-email", "me@here.test") as server:
        for name in names:
            issued(server, name)
        first = {name: serials(pebble, name, context) for name in names}
        assert all(len(found) == 1 for found in first.values())
        assert first["one.test"] != first["two.test"]
        # Nobody is shown what was for the authority alone.
        asking = ssl.create_default_context()
        asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
        asking.set_alpn_protocols(["acme-tls/1"])
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            connect(pebble, "one.test", asking)
    assert pebble.orders == before + 2
    accounts = pebble.requests("/sign-me-up")
    with site(pebble, tmp_path, names, "--workers", "2") as server:
        assert {name: serials(pebble, name, context) for name in names} == first
        assert "ACME" not in server.log
    assert pebble.orders == before + 2
    # One account for all of that, as often as its nonces were refused.
    assert pebble.requests("/sign-me-up") == accounts


def test_a_name_gets_a_certificate_by_a_request_without_tls(pebble: Pebble, tmp_path: Path) -> None:
    challenge = ("--acme-challenge", "http-01", "--https-redirect", str(pebble.http_port), "--workers", "2")
    with site(pebble, tmp_path, ("three.test",), *challenge) as server:
        issued(server, "three.test")
        assert len(serials(pebble, "three.test", pebble.context())) == 1
        # Authorities look from several places.
        (answered,) = set(re.findall(r"\"GET (/\.well-known/acme-challenge/\S+) HTTP/1\.1\" 200", server.log))
        # Once it is over, the path is one like any other.
        with httpx.Client(trust_env=False, timeout=20) as client:
            response = client.get(f"http://127.0.0.1:{pebble.http_port}{answered}")
            assert response.status_code == 308
        with connect(pebble, "three.test", pebble.context()) as secure:
            ask(secure, answered)


def test_a_name_that_does_not_exist_is_told_and_keeps_no_other_waiting(pebble: Pebble, tmp_path: Path) -> None:
    names = ("nowhere.test", "four.test")
    control = ("--name", "names", "--runtime-dir", str(tmp_path / "run"))
    before = pebble.orders
    with site(pebble, tmp_path, names, *control) as server:
        server.wait_for_log(r"ERROR.*ACME: no certificate for nowhere\.test: .*nowhere\.test", ORDER_SECONDS)
        issued(server, "four.test")
        assert serials(pebble, "four.test", pebble.context())
        # It is served all the same, with a certificate that nobody trusts.
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(pebble, "nowhere.test", pebble.context())
        command = [sys.executable, "-m", "swell", "status", *control, "--json"]
        said = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
        bad, good = json.loads(said)["certificates"]
        assert (bad["name"], bad["not_after"], bad["renew_at"]) == ("nowhere.test", None, None)
        assert "nowhere.test" in bad["trouble"]
        assert bad["retry_at"] > time.time()
        assert (good["name"], good["trouble"]) == ("four.test", None)
        assert good["not_after"] > good["renew_at"] > time.time() + 50 * 86400
        shown = subprocess.run([*command[:-1]], capture_output=True, check=True, timeout=30, text=True).stdout
        assert "nowhere.test: no certificate of localhost:" in shown
        assert "four.test: certificate of localhost:" in shown
    with site(pebble, tmp_path, names) as server:
        server.wait_for_log(r"WARNING.*ACME: no certificate for nowhere\.test yet: .*; the next attempt is at ")
    assert pebble.orders == before + 1


def test_an_authority_that_is_not_trusted_is_not_talked_to(pebble: Pebble, tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text(APPLICATION)
    options = ("--acme-directory", pebble.directory, "--acme-accept-terms", "--acme-domain", "seven.test")
    environment = {**ENVIRONMENT, "REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}
    with serving(
        "said:app", *options, "--state-dir", str(tmp_path / "state"), directory=tmp_path, environment=environment
    ) as server:
        server.wait_for_log(r"ACME: no certificate for seven\.test: .*certificate verify failed", ORDER_SECONDS)
    assert not list(tmp_path.rglob("account.*"))
