"""`swell serve APP`: serve an application until a signal comes."""

from __future__ import annotations

from collections.abc import Sequence

from swell.cli import version
from swell.cli.options import effective_options
from swell.cli.output import note
from swell.errors import ConfigError, StartupError

__all__ = ["SUMMARY", "main"]

SUMMARY = "serve an application"

_USAGE = """\
usage: swell serve APP [options]
       swell APP [options]

Serves the ASGI application APP, written MODULE:ATTRIBUTE, until SIGINT or SIGTERM. The default of each option stands in
brackets. Options can also be set as SWELL_NAME in the environment and in swell.toml; `swell config` shows the outcome.

Exit codes: 0 stopped as asked, 1 could not serve, 2 wrong options, 3 the application could not be loaded or started."""


def main(argv: Sequence[str]) -> int:
    """Returns the exit code of the server."""
    found = effective_options(argv, _USAGE, {"--version": "Show the version and what it runs on."})
    if found is None:
        return 0
    effective, extras = found
    if "--version" in extras:
        return version.main([])
    if not effective.config.app:
        raise ConfigError("no application: swell serve MODULE:ATTRIBUTE, for example swell serve main:app")
    note(effective.notes)
    try:
        import swell.worker  # noqa: F401 - whether it can be loaded
    except ImportError as error:
        if error.name is None or not error.name.startswith("swell._core"):
            raise
        raise StartupError(version.missing_core(error)) from error
    from swell.supervisor import serve

    return serve(effective.config)
