"""The process around a server: event loop, logging, signals, exit code."""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

from swell.config import Config
from swell.errors import AppLoadError, SwellError
from swell.worker.server import Server

__all__ = ["run", "serve"]


def run(app: str | Callable[..., Any], **options: object) -> None:
    """Serves `app` until SIGINT or SIGTERM. `options` are those of the command line, with underscores.

    Raises `ConfigError` for options that make no sense; ends the process with exit code 1 or 3 when the server or
    the application cannot start.
    """
    code = serve(Config.make(app, **options))
    if code:
        sys.exit(code)


def serve(config: Config) -> int:
    """Serves until a signal comes. Returns the exit code: 0 as asked, 1 could not serve, 3 the application's fault."""
    logging.basicConfig(level=config.log_level.upper(), format="%(levelname)s: %(message)s")
    try:
        with asyncio.Runner(loop_factory=loop_factory(config)) as runner:
            runner.run(Server(config).serve(handle_signals=True))
    except AppLoadError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print(f"swell: {error}", file=sys.stderr)
        return error.exit_code
    except SwellError as error:
        print(f"swell: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    return 0


def loop_factory(config: Config) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed and wanted, else asyncio's own loop."""
    if config.loop == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if config.loop == "uvloop":
            raise SwellError("--loop uvloop: it is not installed; pip install 'swell[uvloop]'") from None
        return None
    return uvloop.new_event_loop
