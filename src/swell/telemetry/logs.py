"""Setting up Python's logging: once per process, before the application is loaded.

Without `--log-config`, the `swell` logger gets a handler on standard error and nothing else is touched: the
application's own loggers, and the root, are the application's business. With it, the file or mapping replaces all of
that. A configuration written for uvicorn works: what it says for `uvicorn.error` holds for `swell`, and what it says
for `uvicorn.access` for `swell.access`, unless it names our loggers.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from swell.config import Config
from swell.config.sections.logs import TRACE
from swell.errors import StartupError
from swell.telemetry.formats import JsonFormatter, TextFormatter

__all__ = ["set_up", "wants_colors"]

LEVELS = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}


def set_up(config: Config) -> None:
    """Configures logging for this process.

    Raises `StartupError` when `log_config` cannot be read or makes no sense to `logging.config`.
    """
    logging.addLevelName(TRACE, "TRACE")
    if config.log_config is not None:
        _apply(config.log_config)
        for name in ("swell", "swell.access"):
            # `logging.config` disables what exists already and is not named, by default: here, the loggers it is for.
            logging.getLogger(name).disabled = False
        _adopt("swell", ("uvicorn.error", "uvicorn"))
        _adopt("swell.access", ("uvicorn.access",))
        return
    handler = logging.StreamHandler(sys.stderr)
    if config.log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter(colors=wants_colors(config.use_colors, sys.stderr)))
    server = logging.getLogger("swell")
    server.handlers[:] = [handler]
    server.setLevel(LEVELS[config.log_level])
    # The application may configure the root as it likes; our lines are not to appear twice.
    server.propagate = False


def wants_colors(choice: bool | None, stream: TextIO) -> bool:
    """`choice`, or else whether `stream` is a terminal that shows colours (https://no-color.org)."""
    if choice is not None:
        return choice
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # no standard stream, or a closed one
        return False


def _apply(source: str | Mapping[str, Any]) -> None:
    name = source if isinstance(source, str) else "the mapping"
    try:
        if not isinstance(source, str):
            logging.config.dictConfig(dict(source))
        elif source.endswith(".json"):
            with open(source, encoding="utf-8") as file:
                logging.config.dictConfig(json.load(file))
        elif source.endswith((".yaml", ".yml")):
            logging.config.dictConfig(_yaml(source))
        else:
            logging.config.fileConfig(source, disable_existing_loggers=False)
    except StartupError:
        raise
    except Exception as error:
        # Every handler class and formatter factory that the file names may raise what it likes.
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        raise StartupError(f"--log-config: {name}: {error or type(error).__name__}{cause}") from None


def _yaml(path: str) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise StartupError("--log-config: YAML files need PyYAML: pip install 'swell[yaml]'") from None
    with open(path, encoding="utf-8") as file:
        loaded: dict[str, Any] = yaml.safe_load(file)
    return loaded


def _adopt(name: str, foreign: tuple[str, ...]) -> None:
    """Lets the logger `name` do what a foreign logger was told to, unless it was told something itself."""
    logger = logging.getLogger(name)
    if logger.handlers or logger.level != logging.NOTSET:
        return
    for candidate in foreign:
        # getLogger would create it.
        told = logging.root.manager.loggerDict.get(candidate)
        if isinstance(told, logging.Logger) and (told.handlers or told.level != logging.NOTSET):
            logger.parent = told.parent
            logger.handlers[:] = told.handlers
            logger.filters[:] = told.filters
            logger.propagate = told.propagate
            logger.disabled = told.disabled
            logger.setLevel(told.level)
            return
