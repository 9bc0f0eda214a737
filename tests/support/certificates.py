"""Certificates for tests: an authority made once per run, and what servers and clients need of it."""

from __future__ import annotations

import functools
import ssl
import tempfile
from pathlib import Path

import trustme

__all__ = ["authority", "client_context", "own_directory", "server_files"]


@functools.cache
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@functools.cache
def own_directory() -> Path:
    """Is gone with the process."""
    directory = tempfile.TemporaryDirectory(prefix="swell-certificates-")
    _kept.append(directory)
    return Path(directory.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def server_files(*names: str, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> tuple[str, str]:
    """A certificate for these names (`localhost` by default) and its key, as files."""
    issued = authority().issue_cert(*(names or ("localhost", "127.0.0.1")), key_type=key_type)
    stem = f"{'-'.join(names).replace('*', 'any') or 'server'}-{key_type.name}"
    certificate, key = own_directory() / f"{stem}.pem", own_directory() / f"{stem}.key"
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(certificate), append=True)
    issued.private_key_pem.write_to_path(str(key))
    return str(certificate), str(key)


def client_context(*, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """For a client that trusts the authority."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context
