"""Addresses to listen on: every form, and a text that tells what is wrong with the others."""

from __future__ import annotations

import pytest

from swell.config import Address, Config, FdAddress, TcpAddress, UnixAddress
from swell.config.address import parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", TcpAddress("127.0.0.1", 8000)),
        ("localhost:0", TcpAddress("localhost", 0)),
        (":80", TcpAddress("", 80)),
        ("[::1]:65535", TcpAddress("::1", 65535)),
        ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
        ("unix:/run/swell.sock", UnixAddress("/run/swell.sock", 0o600)),
        ("unix:swell.sock?mode=0660", UnixAddress("swell.sock", 0o660)),
        ("unix:///run/swell.sock?mode=666", UnixAddress("/run/swell.sock", 0o666)),
        ("fd:3", FdAddress(3)),
        ("fd://3", FdAddress(3)),
    ],
)
def test_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("8000", "is not an address"),
        ("host", "is not an address"),
        ("host:http", "is not an address"),
        ("http://host:80", "needs brackets|is not an address"),
        ("host:65536", "port over 65535"),
        ("::1:8000", r"needs brackets around an IPv6 address: \[::1\]:8000"),
        ("[::1]", "is not an address"),
        ("[host]:80", "no IPv6 address between the brackets"),
        ("unix:", "needs a path"),
        ("unix:/x?mode=0999", "takes only"),
        ("unix:/x?mode=7777", "takes only"),
        ("unix:/x?owner=root", "takes only"),
        ("unix:/" + "x" * 107, "longer than 107 bytes"),
        ("fd:three", "needs a descriptor number"),
        ("fd:-1", "needs a descriptor number"),
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_address(text)


def test_addresses_come_from_whichever_option_names_them() -> None:
    assert Config().addresses == (TcpAddress("127.0.0.1", 8000),)
    assert Config(host="::", port=80).addresses == (TcpAddress("::", 80),)
    assert Config(uds="/run/x.sock").addresses == (UnixAddress("/run/x.sock"),)
    assert Config(fd=0).addresses == (FdAddress(0),)
    both = Config(bind=("[::]:80", "unix:/run/x.sock?mode=0660"))
    assert both.addresses == (TcpAddress("::", 80), UnixAddress("/run/x.sock", 0o660))


def test_a_unix_socket_is_private_unless_asked_otherwise() -> None:
    assert [address.mode for address in Config(uds="/x").addresses if isinstance(address, UnixAddress)] == [0o600]


def test_only_an_unnamed_address_may_be_replaced_by_systemd() -> None:
    assert Config().has_default_address
    assert not Config(port=8001).has_default_address
    assert not Config(bind=("127.0.0.1:8000",)).has_default_address
    assert not Config(fd=3).has_default_address
