"""`swell version` and `swell --version`: what exactly is installed here, in one line for a bug report."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Sequence

from swell import __version__
from swell.errors import ConfigError

__all__ = ["SUMMARY", "build_profile", "installed", "main", "missing_core", "version_line"]

SUMMARY = "show the version and what it runs on"


def build_profile() -> str:
    """`release` or `debug`. Raises `ImportError` if the native module is missing or was built for another Python."""
    return str(importlib.import_module("swell._core").BUILD_PROFILE)


def missing_core(error: ImportError) -> str:
    """What to do without the native module."""
    return (
        f"the native module swell._core cannot be loaded by {sys.executable} ({error}). Install a wheel for this Python"
        " with `pip install --force-reinstall swell`, or build it in a checkout with `make build`"
    )


def installed(distribution: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def version_line() -> str:
    """`swell 0.1.0 (release build, CPython 3.11.7, uvloop 0.23.0, Linux x86_64)`"""
    try:
        build = f"{build_profile()} build"
    except ImportError:
        build = "native module missing"
    uvloop = installed("uvloop")
    parts = [
        build,
        f"{platform.python_implementation()} {platform.python_version()}",
        f"uvloop {uvloop}" if uvloop else "asyncio",
        f"{platform.system()} {platform.machine()}",
    ]
    return f"swell {__version__} ({', '.join(parts)})"


def main(argv: Sequence[str]) -> int:
    """Prints the line."""
    if argv and argv[0] in ("-h", "--help"):
        sys.stdout.write(
            "usage: swell version\n\nShows the version, the build profile, Python, the event loop and the platform.\n"
        )
        return 0
    if argv:
        raise ConfigError(f"swell version takes no arguments, not {argv[0]}")
    sys.stdout.write(version_line() + "\n")
    return 0
