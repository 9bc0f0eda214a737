"""An authority that is away and comes back as another one; renewals, and a new server in between."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path

import pytest
from support.pebble import Pebble, authority, free_port
from support.server import START_SECONDS

from supervisor.acme.site import ORDER_SECONDS, ask, connect, issued, serials, site

# The first time, Pebble is built.
pytestmark = pytest.mark.timeout(600)

# Renewed after 8 s at the latest; two seconds are the authority's and the library's pauses in an order.
VALID_SECONDS = 12


def test_an_authority_is_waited_for_and_a_certificate_renewed(tmp_path: Path) -> None:
    ports, port = (free_port(), free_port()), free_port()
    absent = Pebble(port, 0, *ports, tmp_path / "none")
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    with site(absent, tmp_path, ("five.test",), "--workers", "2") as server:
        server.wait_for_log(
            r"ERROR.*ACME: no certificate for five\.test: .* cannot be reached: .*refused", ORDER_SECONDS
        )
        with connect(absent, "five.test", anybody) as early:
            ask(early, "/early")
            with authority(tmp_path, ports=ports, port=port, validity=VALID_SECONDS) as first:
                issued(server, "five.test")
                (serial,) = serials(first, "five.test", first.context())
                # A new certificate ends no connection.
                ask(early, "/late")
        # Another authority at the same address knows neither the account nor what was issued to it. A new server takes
        # over certificates, account and what is due.
        with authority(tmp_path, ports=ports, port=port, validity=VALID_SECONDS) as second:
            mark = server.mark()
            server.process.send_signal(signal.SIGUSR2)
            server.wait_for_log(r"pid \d+ serves", START_SECONDS, since=mark)
            issued(server, "five.test", since=server.mark())
            (renewed,) = serials(second, "five.test", second.context())
            assert renewed != serial
            assert second.orders >= 1
