"""Options: TLS. It is on as soon as there is a certificate; then all addresses speak it that do not say otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from swell.config.kinds import (
    choice,
    directory,
    duration,
    file,
    flag,
    host_names,
    integer,
    names,
    off,
    secret,
    text,
    words,
)
from swell.config.option import option

__all__ = ["Tls"]


@dataclass(frozen=True, kw_only=True)
class Tls:
    __slots__ = ()
    title: ClassVar[str] = "TLS"

    ssl_certfile: tuple[str, ...] = option(
        names("FILE"),
        (),
        "Certificate with its chain, PEM; turns TLS on for all addresses but those with ?tls=off. Several times for"
        " several host names (SNI), the first for everyone else.",
    )
    ssl_keyfile: tuple[str, ...] = option(
        names("FILE"),
        (),
        "Private key, PEM: PKCS#8 (also encrypted), PKCS#1 or SEC1. As often as --ssl-certfile, in the same order;"
        " without, it is in the same file as the certificate.",
    )
    ssl_keyfile_password: str | None = option(off(secret()), None, "Password of the private keys that are encrypted.")
    ssl_cert_dir: str | None = option(
        off(directory()),
        None,
        "Directory of further certificates: NAME.crt or NAME.pem with NAME.key beside it, or NAME/fullchain.pem with"
        " NAME/privkey.pem.",
    )
    ssl_ocsp: tuple[str, ...] = option(
        names("FILE"),
        (),
        "OCSP response (DER) to staple, in the order of --ssl-certfile; a file that is not there is left out.",
    )
    ssl_profile: Literal["intermediate", "modern"] = option(
        choice("intermediate", "modern"),
        "intermediate",
        "Versions and cipher suites as Mozilla's guideline names them: TLS 1.2 and 1.3, or 1.3 alone.",
        why="All suites of both have forward secrecy and authenticated encryption; some clients have no TLS 1.3.",
    )
    ssl_min_version: Literal["1.2", "1.3"] = option(
        choice("1.2", "1.3"), "1.2", "Oldest version of TLS.", why="Older ones are broken (RFC 8996) and not built in."
    )
    ssl_ca_certs: str | None = option(
        off(file()), None, "Whose client certificates are accepted: a PEM file of authorities."
    )
    ssl_cert_reqs: Literal["none", "ask", "optional", "required"] = option(
        words("none", "ask", "optional", "required", numbers={0: "none", 1: "optional", 2: "required"}, digits=True),
        "none",
        "Client certificates: required, optional (a bad one ends the handshake), or ask, which takes any and tells the"
        " application what is wrong with it. uvicorn's numbers 0, 1 and 2 work.",
    )
    ssl_crl: tuple[str, ...] = option(names("FILE"), (), "Revocation lists (PEM) for client certificates.")
    acme_domain: tuple[str, ...] = option(
        host_names("NAME"),
        (),
        "Get a certificate for this host name from an authority by ACME (RFC 8555) and renew it; needs swell[acme]."
        " Several times for several names, each with a certificate of its own.",
    )
    acme_accept_terms: bool = option(
        flag(),
        False,
        "You agree to the terms of service of the authority of --acme-directory.",
        why="No authority issues without, and nobody but you can say so.",
    )
    acme_email: str | None = option(
        off(text("ADDRESS")), None, "Where the authority may write to about the account, if it writes at all."
    )
    acme_directory: str = option(
        text("URL"),
        "https://acme-v02.api.letsencrypt.org/directory",
        "The authority. To try things out: https://acme-staging-v02.api.letsencrypt.org/directory.",
        why="Let's Encrypt is free, and known to every client.",
    )
    acme_ca_file: str | None = option(
        off(file()),
        None,
        "Whom to trust as the authority's own web server, PEM: for one within a company, or for tests.",
    )
    acme_challenge: Literal["tls-alpn-01", "http-01"] = option(
        choice("tls-alpn-01", "http-01"),
        "tls-alpn-01",
        "How the authority sees that the name is ours: on port 443 within the handshake, or on port 80 by a request"
        " without TLS, see --https-redirect. Ports as the world sees them.",
        why="It needs no port but the one that is served anyway.",
    )
    https_redirect: int | None = option(
        off(integer(0, 65535, "PORT")),
        None,
        "Listen on this port, too, without TLS, and send everyone to https (308).",
    )
    hsts: float | None = option(
        off(duration()),
        None,
        "Tell browsers to use https only for this long (Strict-Transport-Security), on TLS connections.",
        why="Off: a browser that has been told cannot be told otherwise before the time is over.",
    )
    hsts_subdomains: bool = option(flag(), False, "With --hsts: for all names below this one, too.")
