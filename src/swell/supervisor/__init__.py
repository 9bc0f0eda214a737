"""The parent of workers. In this version there is one for development only: `--reload`.

`serve(config)` is the command line's entry and `run(app, **options)` Python's; both serve in this very process unless
the options need a parent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from swell.config import Config

__all__ = ["run", "serve"]


def serve(config: Config) -> int:
    """Serves until a signal comes. Returns the exit code: 0 as asked, 1 could not serve, 3 the application's fault."""
    from swell.supervisor import main

    return main.serve(config)


def run(app: str | Callable[..., Any], **options: object) -> None:
    """Serves `app` until SIGINT or SIGTERM. `options` are those of the command line, with underscores.

    Raises `ConfigError` for options that make no sense; ends the process with exit code 1 or 3 when the server or
    the application cannot start.
    """
    config = Config.make(app, **options)
    if config.reload:
        code = serve(config)
        if code:
            sys.exit(code)
        return
    from swell import worker

    worker.run(app, **options)
