"""`swell cert`: certificates for development."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from swell._core import self_signed
from swell.errors import ConfigError, SwellError

__all__ = ["SUMMARY", "main"]

SUMMARY = "make a certificate for development"

USAGE = """\
usage: swell cert self-signed [NAME ...] [--out DIR] [--days N] [--force]

Makes a certificate that nobody but you trusts, for these host names and addresses (by default localhost, 127.0.0.1
and ::1), and says how to use it. For the public, get one from a certificate authority.

  --out DIR    where cert.pem and key.pem are written [.]
  --days N     how long it is valid [365]
  --force      write over files that are there"""

DAYS_MAX = 3650


def main(argv: Sequence[str]) -> int:
    """0 when both files are written."""
    if not argv or "--help" in argv or "-h" in argv:
        print(USAGE)
        return 0
    kind, *words = argv
    if kind != "self-signed":
        raise ConfigError(f"swell cert {kind}: there is only swell cert self-signed")
    names: list[str] = []
    directory, days, force = Path(), 365, False
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--out", "--days"):
            if not equals and not words:
                raise ConfigError(f"{name} needs a value")
            value = value if equals else words.pop(0)
            if name == "--out":
                directory = Path(value)
            else:
                days = _days(value)
        elif word == "--force":
            force = True
        elif word.startswith("-"):
            raise ConfigError(f"unknown option {word}: see swell cert --help")
        else:
            names.append(word)
    certificate, key = write(directory, names or ["localhost", "127.0.0.1", "::1"], days, force=force)
    print(f"{certificate} and {key} are valid for {days} days. To use them:\n")
    print(f"  swell APP --ssl-certfile {certificate} --ssl-keyfile {key}")
    print(f"  curl --cacert {certificate} https://{names[0] if names else 'localhost'}:8000/")
    return 0


def write(directory: Path, names: list[str], days: int, *, force: bool = False) -> tuple[Path, Path]:
    """Makes both files. Raises `SwellError` for one that is there already, unless it is to be written over."""
    for name in names:
        if not name.isascii() or not name or any(char.isspace() for char in name):
            raise ConfigError(f"{name!r} is no host name (write other alphabets as xn--…)")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    begin = datetime.now(UTC) - timedelta(hours=1)  # clocks differ
    end = begin + timedelta(days=days, hours=1)
    texts = self_signed(names, f"{begin:%y%m%d%H%M%SZ}", f"{end:%y%m%d%H%M%SZ}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text, mode in ((key, texts[1], 0o600), (certificate, texts[0], 0o644)):
            if force:
                path.unlink(missing_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
                file.write(text)
    except FileExistsError:
        raise SwellError(f"{path} is there already: --force writes over it, --out takes another directory") from None
    except OSError as error:
        raise SwellError(f"cannot write {path}: {error.strerror or error}") from None
    return certificate, key


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= DAYS_MAX:
        raise ConfigError(f"--days must lie between 1 and {DAYS_MAX}, not {text}")
    return int(text)
