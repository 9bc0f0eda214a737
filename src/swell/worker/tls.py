"""What TLS is made of: certificates, keys and the like, read from files as a whole and kept until they change.

`read_material` finds the files that the options name; `TlsContext` judges their contents; `Keeper` holds the last good
ones, looks for changes and replaces the keys of session tickets. A parent has one keeper for all its workers, a server
without a parent has its own. Knows nothing of connections.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from swell._core import TlsContext
from swell.config import Config
from swell.errors import StartupError

__all__ = ["Certificate", "Challenge", "Keeper", "Material", "pack", "read_material", "unnamed_file", "unpack"]

log = logging.getLogger("swell")

# How often the files are looked at, in seconds: a few system calls.
LOOK_SECONDS = 2.0
# A key of session tickets is used for so long, and then kept for as long again, in seconds.
TICKET_SECONDS = 6 * 3600
# A name, and a key for AES-256.
TICKET_KEY_BYTES = 16 + 32


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its key, as the files have them; `staple` is the OCSP response."""

    certificate_file: str
    certificate: bytes
    key_file: str
    key: bytes
    password: bytes | None
    staple: bytes | None


@dataclass(frozen=True, slots=True)
class Challenge:
    """What an authority is shown that is to certify `name` (TLS-ALPN-01, RFC 8737): both PEM."""

    name: str
    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything that a `TlsContext` is made of. It crosses into native code, and from the parent to its workers."""

    certificates: tuple[Certificate, ...]
    client_certificates: str
    authorities: tuple[str, bytes] | None
    revocations: tuple[tuple[str, bytes], ...]
    profile: str
    minimum_version: str
    ticket_keys: tuple[bytes, ...]
    ticket_lifetime: int
    challenges: tuple[Challenge, ...] = ()
    answers: tuple[tuple[str, str], ...] = ()
    """Paths, and the texts that requests for them get (HTTP-01, RFC 8555 §8.3)."""


def unnamed_file(contents: bytes) -> int:
    """A descriptor to give to another process, of a file that is in memory alone where there are such files."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("swell-tls", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    with open(descriptor, "wb", closefd=False) as opened:
        opened.write(contents)
    return descriptor


def pack(material: Material) -> int:
    """A descriptor to give to another process."""
    return unnamed_file(pickle.dumps(material))


def unpack(descriptor: int) -> Material:
    """What another process of ours has packed. Closes the descriptor; several processes may have the same."""
    try:
        material: Material = pickle.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))  # noqa: S301 - ours
    finally:
        os.close(descriptor)
    return material


def read_material(config: Config, ticket_keys: tuple[bytes, ...]) -> Material:
    """Reads the files. Raises `StartupError` for one that cannot be read; what is in them is not looked at."""
    password = None if config.ssl_keyfile_password is None else config.ssl_keyfile_password.encode()
    named = list(zip(config.ssl_certfile, config.ssl_keyfile or config.ssl_certfile, strict=True))
    certificates = []
    for at, (certificate, key) in enumerate([*named, *_in_directory(config.ssl_cert_dir)]):
        staple = config.ssl_ocsp[at] if at < len(config.ssl_ocsp) and at < len(named) else None
        certificates.append(
            Certificate(certificate, _read(certificate), key, _read(key), password, _read_if_there(staple))
        )
    if not certificates:
        raise StartupError(
            f"--ssl-cert-dir {config.ssl_cert_dir}: there is no certificate with its key (NAME.crt or NAME.pem and"
            " NAME.key, or NAME/fullchain.pem and NAME/privkey.pem)"
        )
    authorities = config.ssl_ca_certs
    return Material(
        certificates=tuple(certificates),
        client_certificates=config.ssl_cert_reqs,
        authorities=None if authorities is None else (authorities, _read(authorities)),
        revocations=tuple((name, _read(name)) for name in config.ssl_crl),
        profile=config.ssl_profile,
        minimum_version=config.ssl_min_version,
        ticket_keys=ticket_keys,
        ticket_lifetime=TICKET_SECONDS,
    )


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise StartupError(f"cannot read {name}: {error.strerror or error}") from None


def _read_if_there(name: str | None) -> bytes | None:
    """An OCSP response may come later, from the job that fetches it."""
    if name is None or not os.path.exists(name):
        return None
    return _read(name) or None


def _in_directory(directory: str | None) -> Iterator[tuple[str, str]]:
    """Certificates and keys that belong together, in the order of their names."""
    if directory is None:
        return
    try:
        entries = sorted(Path(directory).iterdir())
    except OSError as error:
        raise StartupError(f"--ssl-cert-dir {directory}: {error.strerror or error}") from None
    for entry in entries:
        if entry.is_dir():
            certificate, key = entry / "fullchain.pem", entry / "privkey.pem"
        elif entry.suffix in (".crt", ".pem"):
            certificate, key = entry, entry.with_suffix(".key")
        else:
            continue
        if certificate.is_file() and key.is_file():
            yield str(certificate), str(key)


class Keeper:
    """The last good material and the context made of it. `changed` is called with new material by `watch`."""

    def __init__(self, config: Config, ticket_keys: tuple[bytes, ...] = ()) -> None:
        """Raises `StartupError` when there is nothing good to begin with. `ticket_keys` are those of the server that
        this one takes over from."""
        self.changed: Callable[[Material], None] = lambda material: None
        self._config = config
        # Before reading: what changes meanwhile is seen as a change.
        self._seen = self._look()
        self._suspect: object = None
        self._rotate_at = time.monotonic() + TICKET_SECONDS
        material = read_material(config, ticket_keys or (secrets.token_bytes(TICKET_KEY_BYTES),))
        try:
            self.context = TlsContext(material)
        except ValueError as error:
            raise StartupError(str(error)) from None
        self.material = material

    async def watch(self) -> None:
        """Looks for changes until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Takes over what has changed since the last look. What is broken is said once and changes nothing."""
        if time.monotonic() >= self._rotate_at:
            self._rotate_at += TICKET_SECONDS
            keys = (secrets.token_bytes(TICKET_KEY_BYTES), self.material.ticket_keys[0])
            self._take(replace(self.material, ticket_keys=keys))
        found = self._look()
        if found == self._seen:
            return
        try:
            before = self.material
            material = read_material(self._config, before.ticket_keys)
            material = replace(material, challenges=before.challenges, answers=before.answers)
            changed = material != self.material
            if changed:
                self._take(material)
        except (StartupError, ValueError) as error:
            # Certificate and key are two files: what does not fit now may fit at the next look.
            if found == self._suspect:
                self._seen = found
                log.error("TLS: %s; going on with the certificates that were loaded before", error)
            self._suspect = found
            return
        self._seen = found
        if changed:
            log.info("TLS: the certificates were loaded anew: %s", self.describe())

    def answer(self, challenges: tuple[Challenge, ...], answers: tuple[tuple[str, str], ...]) -> None:
        """What authorities are told from now on, and nothing else."""
        self._take(replace(self.material, challenges=challenges, answers=answers))

    def _take(self, material: Material) -> None:
        self.context = TlsContext(material)
        self.material = material
        self.changed(material)

    def describe(self) -> str:
        """The names that the certificates are for."""
        return "; ".join(", ".join(names) or "no name" for names in self.context.names)

    def _look(self) -> tuple[tuple[str, int, int, int], ...]:
        """A fingerprint of all files: it changes when any of them does, or when there are others."""
        config = self._config
        files = [*config.ssl_certfile, *config.ssl_keyfile, *config.ssl_ocsp, *config.ssl_crl]
        if config.ssl_ca_certs is not None:
            files.append(config.ssl_ca_certs)
        try:
            files.extend(name for pair in _in_directory(config.ssl_cert_dir) for name in pair)
        except StartupError:
            files.append("")
        return tuple(_fingerprint(name) for name in files)


def _fingerprint(name: str) -> tuple[str, int, int, int]:
    try:
        found = os.stat(name)
    except OSError:
        return name, 0, 0, 0
    return name, found.st_mtime_ns, found.st_size, found.st_ino
