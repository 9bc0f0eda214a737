"""Options: what proxies in front may say about the client, and which of them are believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from swell.config.kinds import choice, flag, networks
from swell.config.option import option

__all__ = ["Proxies"]


@dataclass(frozen=True, kw_only=True)
class Proxies:
    __slots__ = ()
    title: ClassVar[str] = "Proxies"

    proxy_headers: bool = option(
        flag(),
        True,
        "Take client and scheme from the fields that proxies set, of trusted peers only.",
    )
    forwarded_fields: Literal["x-forwarded", "forwarded"] = option(
        choice("x-forwarded", "forwarded"),
        "x-forwarded",
        "Which fields the proxies set: X-Forwarded-For and X-Forwarded-Proto, or Forwarded (RFC 7239).",
        why="Nearly all proxies set the X- ones. Reading both kinds would let a client forge the kind that its proxy"
        " passes through.",
    )
    forwarded_allow_ips: tuple[str, ...] = option(
        networks("*", "unix"),
        ("127.0.0.1", "::1", "unix"),
        "The trusted peers: addresses, networks, unix for everyone on a Unix socket, * for everyone.",
        why="A proxy on the same machine. Everyone else could claim any address.",
        environment=("FORWARDED_ALLOW_IPS",),
        uvicorn="uvicorn's default does not contain Unix sockets",
    )
    proxy_protocol_from: tuple[str, ...] = option(
        networks("*", "unix"),
        (),
        "Peers whose connections must begin with a PROXY protocol header, version 1 or 2.",
        why="Nobody: a header from anyone else would be a forged address.",
        answer="connection closed when the header is missing or malformed",
    )
