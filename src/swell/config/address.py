"""An address to listen on, as text and as a typed value.

`HOST:PORT`, `[V6]:PORT`, `unix:PATH[?mode=0600]`, `fd:N`; behind each `?tls=off`. Pure: opens nothing,
resolves nothing; the worker does.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass

__all__ = ["DEFAULT_SOCKET_MODE", "Address", "FdAddress", "TcpAddress", "UnixAddress", "parse_address"]

# Only the user who runs the server may connect, until someone says otherwise.
DEFAULT_SOCKET_MODE = 0o600

_FORMS = "HOST:PORT, [V6]:PORT, unix:PATH, unix:PATH?mode=0660 or fd:N"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """`host` is a name or an IP literal without brackets; empty means every interface. Port 0 picks a free one."""

    host: str
    port: int
    tls: bool = True

    def __str__(self) -> str:
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return place + ("" if self.tls else "?tls=off")


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """`mode` is set on the socket's file before anyone can connect."""

    path: str
    mode: int = DEFAULT_SOCKET_MODE
    tls: bool = True

    def __str__(self) -> str:
        parts = [
            *([] if self.mode == DEFAULT_SOCKET_MODE else [f"mode={self.mode:04o}"]),
            *([] if self.tls else ["tls=off"]),
        ]
        return f"unix:{self.path}" + (f"?{'&'.join(parts)}" if parts else "")


@dataclass(frozen=True, slots=True)
class FdAddress:
    """A listening socket that this process inherited."""

    fd: int
    tls: bool = True

    def __str__(self) -> str:
        return f"fd:{self.fd}" + ("" if self.tls else "?tls=off")


Address = TcpAddress | UnixAddress | FdAddress


def parse_address(text: str) -> Address:
    """Reads one address. Raises `ValueError` with a predicate that names the forms."""
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "unix":
        return _unix(text, rest.removeprefix("//"))
    if colon and scheme == "fd":
        number, tls = _without_tls(rest.removeprefix("//"))
        if not number.isascii() or not number.isdigit():
            raise ValueError(f"needs a descriptor number in {text!r}, such as fd:3")
        return FdAddress(int(number), tls)
    place, tls = _without_tls(text)
    return _tcp(place, tls)


def _without_tls(text: str) -> tuple[str, bool]:
    """An address without its `?tls=off`, and whether it speaks TLS when there is a certificate."""
    place, question, said = text.partition("?")
    if not question:
        return text, True
    if said not in ("tls=off", "tls=on"):
        raise ValueError(f"takes only ?tls=off behind the address, not {said!r}")
    return place, said == "tls=on"


def _unix(text: str, rest: str) -> UnixAddress:
    path, question, query = rest.partition("?")
    if not path:
        raise ValueError(f"needs a path in {text!r}, such as unix:/run/swell.sock")
    # 107 bytes and a NUL is what sockaddr_un holds
    if len(os.fsencode(path)) > 107:
        raise ValueError(f"has a path longer than 107 bytes, which no Unix socket can have: {path!r}")
    mode, tls = DEFAULT_SOCKET_MODE, True
    for part in query.split("&") if question else ():
        key, _, value = part.partition("=")
        octal = value.removeprefix("0o")
        if key == "tls" and value in ("on", "off"):
            tls = value == "on"
            continue
        if key != "mode" or not octal or set(octal) - set("01234567") or int(octal, 8) > 0o777:
            raise ValueError(f"takes only ?mode=OCTAL and ?tls=off behind the path, such as ?mode=0660, not {query!r}")
        mode = int(octal, 8)
    return UnixAddress(path, mode, tls)


def _tcp(text: str, tls: bool) -> TcpAddress:
    host, colon, digits = text.rpartition(":")
    if not colon or not digits.isascii() or not digits.isdigit():
        raise ValueError(f"is not an address: {text!r} (write {_FORMS})")
    if int(digits) > 65535:
        raise ValueError(f"has a port over 65535 in {text!r}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"has no IPv6 address between the brackets of {text!r}") from None
    elif ":" in host:
        raise ValueError(f"needs brackets around an IPv6 address: [{host}]:{digits}, not {text!r}")
    elif any(char.isspace() or char in "/[]@" for char in host):
        raise ValueError(f"is not an address: {text!r} (write {_FORMS})")
    return TcpAddress(host, int(digits), tls)
