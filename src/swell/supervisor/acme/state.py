"""What is remembered of certificates that an authority issues, in the state directory, for all instances of this user.

    STATE/acme/AUTHORITY/account.pem   the account's key
    STATE/acme/AUTHORITY/account.json  its address at the authority
    STATE/acme/AUTHORITY/NAME.pem      the certificate, its chain and its key; at first one that vouches for itself
    STATE/acme/AUTHORITY/NAME.json     its `Record`
    STATE/acme/AUTHORITY/lock          held by the parent that orders

All of it is the owner's alone (mode 0600), and replaced as a whole or not at all. Knows no protocol and no clock. Used
by `keeper`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from swell._core import self_signed
from swell.supervisor.runtime import made

__all__ = ["Account", "AcmeState", "Record"]

# Of a certificate that nobody trusts: it is not to be the first thing that goes wrong.
PLACEHOLDER_DAYS = 365


@dataclass(frozen=True, slots=True)
class Record:
    """One certificate, and what has failed since. Unix times; 0: never, or not yet."""

    not_before: float = 0.0
    not_after: float = 0.0
    renew_at: float = 0.0
    failures: int = 0
    retry_at: float = 0.0
    trouble: str = ""

    @property
    def due(self) -> float:
        """When the next order is to be made."""
        return max(self.renew_at, self.retry_at)


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are to the authority. `key` is PEM; `uri` is empty until it knows us."""

    key: str
    uri: str
    email: str


class AcmeState:
    """The files of one authority."""

    def __init__(self, base: Path, authority: str) -> None:
        """`authority` is the address of its directory. Raises `StartupError`."""
        host = re.sub(r"[^a-z0-9.-]", "-", (urlsplit(authority).netloc or "authority").lower())
        name = f"{host}-{hashlib.sha256(authority.encode()).hexdigest()[:8]}"
        self._path = made(base / name, "choose another --state-dir", private=True)

    def certificate(self, name: str) -> Path:
        """The file with the certificate, its chain and its key."""
        return self._path / f"{name}.pem"

    def prepare(self, names: Sequence[str]) -> None:
        """Sees to it that there is a certificate of each name. Raises `OSError`."""
        begin = datetime.now(UTC) - timedelta(hours=1)  # clocks differ
        end = begin + timedelta(days=PLACEHOLDER_DAYS)
        for name in names:
            if not self.certificate(name).exists():
                made_here = self_signed([name], f"{begin:%y%m%d%H%M%SZ}", f"{end:%y%m%d%H%M%SZ}")
                self._replace(self.certificate(name), "".join(made_here))
                self.write(name, Record())

    def record(self, name: str) -> Record:
        """What is known of it. A file that cannot be read is as good as none: a certificate is ordered then."""
        try:
            found = json.loads((self._path / f"{name}.json").read_text(encoding="utf-8"))
            return Record(
                not_before=float(found["not_before"]),
                not_after=float(found["not_after"]),
                renew_at=float(found["renew_at"]),
                failures=int(found["failures"]),
                retry_at=float(found["retry_at"]),
                trouble=str(found["trouble"]),
            )
        except (OSError, ValueError, TypeError, KeyError):
            return Record()

    def write(self, name: str, record: Record) -> None:
        """Raises `OSError`."""
        self._replace(self._path / f"{name}.json", json.dumps(dataclasses.asdict(record), indent=1) + "\n")

    def store(self, name: str, pem: str, record: Record) -> None:
        """A new certificate. Raises `OSError`."""
        self._replace(self.certificate(name), pem)
        self.write(name, record)

    @property
    def account(self) -> Account | None:
        """None: the authority does not know us."""
        try:
            found = json.loads((self._path / "account.json").read_text(encoding="utf-8"))
            key = (self._path / "account.pem").read_text(encoding="ascii")
            return Account(key, str(found["uri"]), str(found["email"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @account.setter
    def account(self, account: Account) -> None:
        """Raises `OSError`."""
        self._replace(self._path / "account.pem", account.key)
        document = {"uri": account.uri, "email": account.email}
        self._replace(self._path / "account.json", json.dumps(document, indent=1) + "\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether we have it: another parent may be ordering."""
        lock = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(lock)

    def _replace(self, path: Path, text: str) -> None:
        """Either the old contents or the new, whatever happens meanwhile."""
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
