"""Where the access log goes: to a descriptor, written by the engine, or through Python's logging.

Native by default: lines on standard output, off the event loop's thread. With `--log-config` each request becomes a
record of the logger `swell.access`, in batches at the end of the engine's turn; the record's `args` are those of
uvicorn's access log, everything else is in attributes (`duration_ms`, `request_id`, …).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from swell.config import Config
from swell.telemetry.logs import LEVELS, wants_colors

__all__ = ["AccessTarget", "Entry", "access_target"]

# client, method, path with query, HTTP version, status (0: none was sent), details
Entry = tuple[str, str, str, str, int, dict[str, Any]]

MESSAGE = '%s - "%s %s HTTP/%s" %d'

log = logging.getLogger("swell.access")


@dataclass(frozen=True, slots=True)
class AccessTarget:
    """`sink`, if there is one, is called with the entries; else lines are written to `fd`."""

    enabled: bool
    fd: int
    colors: bool
    sink: Callable[[Sequence[Entry]], None] | None


def access_target(config: Config) -> AccessTarget:
    """What `config` says about the access log."""
    sink = _log_entries if config.log_config is not None else None
    if sink is not None:
        enabled = config.access_log and log.isEnabledFor(logging.INFO)
    else:
        enabled = config.access_log and LEVELS[config.log_level] <= logging.INFO
    fd = _stdout()
    enabled = enabled and (sink is not None or fd >= 0)
    return AccessTarget(enabled=enabled, fd=fd, colors=wants_colors(config.use_colors, sys.stdout), sink=sink)


def _stdout() -> int:
    """The descriptor of standard output, -1 if it is closed: its number may then be anybody's."""
    for stream in (sys.stdout, sys.__stdout__):
        try:
            if stream is not None:
                return stream.fileno()
        except (AttributeError, OSError, ValueError):  # replaced by something without a descriptor, or closed
            continue
    return -1


def _log_entries(entries: Sequence[Entry]) -> None:
    """Makes records of the engine's entries."""
    for client, method, path, version, status, details in entries:
        record = log.makeRecord(
            log.name, logging.INFO, "", 0, MESSAGE, (client, method, path, version, status), None, extra=details
        )
        log.handle(record)
