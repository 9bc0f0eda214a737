"""Values that are fine by themselves and make no sense together, or not on this machine.

Called by `Config` on every construction, so that no contradiction gets past it. Looks at the file system only to see
whether a file that an option names exists.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from swell.config.address import TcpAddress, parse_address
from swell.config.workers import WorkerRange

if TYPE_CHECKING:
    from swell.config.model import Config

__all__ = ["contradictions"]

# It becomes a directory's name.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def contradictions(config: Config) -> Iterator[str]:
    """One line for each, with what to do."""
    yield from _addresses(config)
    yield from _processes(config)
    yield from _admin(config)
    yield from _limits(config)
    yield from _tls(config)
    yield from _acme(config)
    yield from _files(config)
    if config.interface == "wsgi" and config.lifespan == "on":
        yield "--lifespan on asks for a protocol that WSGI applications do not have: drop it, or drop --interface wsgi"


def _addresses(config: Config) -> Iterator[str]:
    named = [
        flag
        for flag, given in (("--bind", config.bind), ("--uds", config.uds is not None), ("--fd", config.fd is not None))
        if given
    ]
    if len(named) > 1:
        yield f"{' and '.join(named)} both name an address: name all of them with --bind (unix:PATH, fd:N)"
    if len(set(config.bind)) != len({bind.partition("?")[0] for bind in config.bind}):
        yield "--bind names the same path twice"


def _processes(config: Config) -> Iterator[str]:
    if config.reload and config.workers != WorkerRange(1, 1):
        yield "--reload runs one worker and cannot be combined with --workers: drop one of them"
    if config.reload and callable(config.app):
        yield "reload needs the application as an import string, MODULE:ATTRIBUTE, to import it anew"
    if callable(config.app) and config.spawn == "fresh":
        yield "spawn fresh needs the application as an import string, MODULE:ATTRIBUTE, to import it in each worker"
    if config.workers.fixed and config.forecast != "off":
        yield f"--forecast {config.forecast} needs a range of workers, such as --workers 1..8"
    if config.workers.fixed and config.scale_policy is not None:
        yield "--scale-policy needs a range of workers, such as --workers 1..8"
    if config.name and not NAME.fullmatch(config.name):
        yield f"--name {config.name}: use letters, digits, '.', '_' and '-', at most 64 of them"
    if config.limit_max_requests_jitter and config.limit_max_requests is None:
        yield "--limit-max-requests-jitter is added to --limit-max-requests, which is off: set it too"


def _admin(config: Config) -> Iterator[str]:
    if config.admin is None:
        for flag, given in (
            ("--admin-token-file", config.admin_token_file),
            ("--admin-ssl-certfile", config.admin_ssl_certfile),
            ("--admin-ssl-ca-certs", config.admin_ssl_ca_certs),
            ("--admin-read-only", config.admin_read_only),
        ):
            if given:
                yield f"{flag} is about --admin, which is off: set it too"
        return
    try:
        address = parse_address(config.admin)
    except ValueError:
        address = None
    if not isinstance(address, TcpAddress):
        yield f"--admin {config.admin}: write HOST:PORT, such as 127.0.0.1:9000"
    elif config.admin_token_file is None and config.admin_ssl_ca_certs is None and not _is_here(address.host):
        yield (
            f"--admin {config.admin} can be reached from elsewhere: set --admin-token-file, or --admin-ssl-certfile and"
            " --admin-ssl-ca-certs, or use 127.0.0.1"
        )
    if config.admin_ssl_certfile is None:
        for flag, given in (
            ("--admin-ssl-keyfile", config.admin_ssl_keyfile),
            ("--admin-ssl-ca-certs", config.admin_ssl_ca_certs),
        ):
            if given:
                yield f"{flag} needs a certificate: --admin-ssl-certfile"
    if config.admin_ssl_crl and config.admin_ssl_ca_certs is None:
        yield "--admin-ssl-crl is about client certificates, which --admin-ssl-ca-certs asks for: set it too"
    for flag, name in (
        ("--admin-token-file", config.admin_token_file),
        ("--admin-ssl-certfile", config.admin_ssl_certfile),
        ("--admin-ssl-keyfile", config.admin_ssl_keyfile),
        ("--admin-ssl-ca-certs", config.admin_ssl_ca_certs),
        *(("--admin-ssl-crl", name) for name in config.admin_ssl_crl),
    ):
        if name is not None and not os.path.isfile(name):
            yield f"{flag} {name}: there is no such file"


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _limits(config: Config) -> Iterator[str]:
    if config.limit_request_line > config.limit_head_size:
        yield (
            f"--limit-request-line ({config.limit_request_line} bytes) is larger than --limit-head-size"
            f" ({config.limit_head_size} bytes), which contains it: raise the second or lower the first"
        )
    if config.request_id_response and config.request_id == "off":
        yield "--request-id-response sends an id back, but --request-id is off: set it to make or take"


def _tls(config: Config) -> Iterator[str]:
    certificates = len(config.ssl_certfile)
    if config.has_tls and len(config.ssl_keyfile) not in (0, certificates):
        yield (
            f"--ssl-keyfile was given {len(config.ssl_keyfile)} times and --ssl-certfile {certificates} times: one key"
            " for each certificate, or none where the files contain both"
        )
    if len(config.ssl_ocsp) > certificates:
        yield "--ssl-ocsp belongs to --ssl-certfile: there are more of the first than of the second"
    if config.ssl_cert_reqs != "none" and config.ssl_ca_certs is None:
        yield f"--ssl-cert-reqs {config.ssl_cert_reqs} needs --ssl-ca-certs: whose certificates are accepted"
    if config.ssl_cert_reqs == "none" and (config.ssl_ca_certs is not None or config.ssl_crl):
        yield "--ssl-ca-certs and --ssl-crl are about client certificates, which --ssl-cert-reqs asks for: set it too"
    if not config.has_tls:
        # Defaults may be given: they are in many a script, and change nothing.
        for flag, given in (
            ("--ssl-keyfile", bool(config.ssl_keyfile)),
            ("--ssl-keyfile-password", config.ssl_keyfile_password is not None),
            ("--ssl-profile", config.ssl_profile != "intermediate"),
            ("--ssl-min-version", config.ssl_min_version != "1.2"),
            ("--ssl-cert-reqs", config.ssl_cert_reqs != "none"),
            ("--https-redirect", config.https_redirect is not None),
            ("--hsts", config.hsts is not None),
        ):
            if given:
                yield f"{flag} needs a certificate: --ssl-certfile, --ssl-cert-dir or --acme-domain"
    if config.hsts_subdomains and config.hsts is None:
        yield "--hsts-subdomains belongs to --hsts, which is off: set it too"
    if config.https_redirect is not None and not any(
        isinstance(one, TcpAddress) and one.tls for one in config.addresses
    ):
        yield "--https-redirect leads to a TCP port that speaks TLS, and there is none: see --bind"


def _acme(config: Config) -> Iterator[str]:
    if not config.acme_domain:
        for flag, given in (
            ("--acme-email", config.acme_email is not None),
            ("--acme-ca-file", config.acme_ca_file is not None),
        ):
            if given:
                yield f"{flag} is about --acme-domain, which names nothing: set it too"
        return
    if not config.acme_accept_terms:
        yield (
            "--acme-domain gets certificates from an authority whose terms of service you have to agree to:"
            f" --acme-accept-terms says that you do ({config.acme_directory} names them)"
        )
    if not config.acme_directory.startswith("https://"):
        yield f"--acme-directory {config.acme_directory}: write the https:// address of an ACME directory"
    tcp = [one for one in config.addresses if isinstance(one, TcpAddress)]
    if config.acme_challenge == "http-01":
        if config.https_redirect is None and all(one.tls for one in tcp):
            yield "--acme-challenge http-01 is answered on a port without TLS: add --https-redirect 80"
    elif config.ssl_cert_reqs == "required":
        yield (
            "--acme-challenge tls-alpn-01 and --ssl-cert-reqs required exclude each other: the authority has no client"
            " certificate; use --acme-challenge http-01 with --https-redirect 80"
        )


def _files(config: Config) -> Iterator[str]:
    if config.env_file is not None and not os.path.isfile(config.env_file):
        yield f"--env-file {config.env_file}: there is no such file"
    if isinstance(config.log_config, str) and not os.path.isfile(config.log_config):
        yield f"--log-config {config.log_config}: there is no such file"
    if config.scale_policy is not None and not os.path.isfile(config.scale_policy):
        yield f"--scale-policy {config.scale_policy}: there is no such file"
    for flag, files in (
        ("--ssl-certfile", config.ssl_certfile),
        ("--ssl-keyfile", config.ssl_keyfile),
        ("--ssl-ca-certs", () if config.ssl_ca_certs is None else (config.ssl_ca_certs,)),
        ("--ssl-crl", config.ssl_crl),
        ("--acme-ca-file", () if config.acme_ca_file is None else (config.acme_ca_file,)),
    ):
        for name in files:
            if not os.path.isfile(name):
                yield f"{flag} {name}: there is no such file"
    if config.ssl_cert_dir is not None and not os.path.isdir(config.ssl_cert_dir):
        yield f"--ssl-cert-dir {config.ssl_cert_dir}: there is no such directory"
    if not os.path.isdir(config.app_dir):
        yield f"--app-dir {config.app_dir}: there is no such directory"
    for directory in config.reload_dir:
        if not os.path.isdir(directory):
            yield f"--reload-dir {directory}: there is no such directory"
