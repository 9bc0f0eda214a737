"""Who may ask the admin application, and for what.

On the control socket everything is allowed: the kernel has said that it is the owner. On TCP:

| | without a token (loopback only) | with a token |
|---|---|---|
| probes | anybody | anybody |
| the page's files | the Host must be this machine's | anybody: the page asks for the token |
| reading | the Host must be this machine's (a name that an attacker points here is not) | the token, or the session |
| changes | as reading, `Swell-Admin` field, same origin, not --admin-read-only | the same |

With client certificates (mTLS), everything but the probes needs a good one besides; without a token it takes the place
of the look at the Host, since no other site's name has our certificate.

A page of another site can make a browser send requests here, but neither give them a field of its own nor, from a
browser that says where requests come from, hide that. Sessions are cookies (RFC 6265), for the page: SameSite=Strict,
HttpOnly, and made from the token, so that a new token ends them.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

from swell.supervisor.control.problem import Problem

__all__ = ["COOKIE", "FIELD", "OWNER", "Guard", "Purpose", "is_loopback"]

COOKIE = "swell-admin"
FIELD = "swell-admin"


class Purpose(Enum):
    PROBE = "probe"
    SIGN_IN = "sign in"
    PAGE = "page"
    READ = "read"
    CHANGE = "change"


def is_loopback(host: str) -> bool:
    """Whether a host, as it stands in an address or a URL, is this machine by whatever name."""
    host = host.removeprefix("[").removesuffix("]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Guard:
    """`is_owner`: whoever gets here may do everything. Without a `token`, who can connect may; with `certificate`, who
    has a client certificate of the authorities that this address was given."""

    is_owner: bool = False
    token: str | None = None
    certificate: bool = False
    read_only: bool = False

    def check(self, purpose: Purpose, headers: Mapping[str, str], tls: Mapping[str, Any] | None = None) -> None:
        """Raises `Problem`. Of a field that stands twice, `headers` has both values, which then fit nothing. `tls` is
        ASGI's TLS extension of the request."""
        if self.is_owner or purpose is Purpose.PROBE:
            return
        if self.certificate:
            _check_certificate(tls or {})
        if self.token is None:
            if not self.certificate:
                self._check_host(headers.get("host", ""))
        elif purpose not in (Purpose.SIGN_IN, Purpose.PAGE):
            self._check_token(self.token, headers)
        if purpose in (Purpose.SIGN_IN, Purpose.CHANGE):
            self._check_origin(headers)
        if purpose is Purpose.CHANGE and self.read_only:
            raise Problem(HTTPStatus.FORBIDDEN, "this address only shows (--admin-read-only): use the control socket")

    def session(self, token: str) -> str:
        """The value of the cookie, for whoever has shown the token. Raises `Problem`."""
        if self.token is None or not _equal(token, self.token):
            raise _unauthorized("that is not the token")
        return _session_of(self.token)

    def _check_host(self, host: str) -> None:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if not is_loopback(name):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                f"this address answers to names of this machine only, not to {host[:64]!r}: set --admin-token-file",
            )

    def _check_token(self, token: str, headers: Mapping[str, str]) -> None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if _equal(given.strip(), token):
                return
            raise _unauthorized("that is not the token")
        for pair in headers.get("cookie", "").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == COOKIE and _equal(value, _session_of(token)):
                return
        raise _unauthorized("send the token: Authorization: Bearer TOKEN")

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        if FIELD not in headers:
            text = "changes need the field Swell-Admin, with any value: pages of other sites cannot send it"
            raise Problem(HTTPStatus.FORBIDDEN, text)
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Problem(HTTPStatus.FORBIDDEN, "the request comes from a page of another site")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers.get("host", ""):
            raise Problem(HTTPStatus.FORBIDDEN, f"the request comes from a page of {origin[:64]!r}")


def _check_certificate(tls: Mapping[str, Any]) -> None:
    if not tls.get("client_cert_chain"):
        raise Problem(HTTPStatus.FORBIDDEN, "this address wants a client certificate (--admin-ssl-ca-certs)")
    if tls["client_cert_error"] is not None:
        text = f"the client certificate is not accepted: {tls['client_cert_error']}"
        raise Problem(HTTPStatus.FORBIDDEN, text)


def _session_of(token: str) -> str:
    return hmac.new(token.encode(), b"swell admin session", hashlib.sha256).hexdigest()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _unauthorized(text: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, text, {"www-authenticate": 'Bearer realm="swell"'})


OWNER = Guard(is_owner=True)
