"""How the server's log lines look: for people, or as one JSON object each.

The access log is rendered in native code (`crates/engine/src/access`) in the same two styles.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime

__all__ = ["JsonFormatter", "TextFormatter", "harmless", "rfc3339"]

_COLORS = {
    logging.DEBUG: "\x1b[2m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
_RESET = "\x1b[0m"
# Everything that moves the cursor or steers a terminal; line feeds and tabs make tracebacks readable.
_STEERING = r"\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\u200e\u200f\ufeff"
_CONTROLS = re.compile(rf"[\x00-\x08{_STEERING}]")
_CONTROLS_AND_ENDS = re.compile(rf"[\x00-\x0a{_STEERING}]")


def rfc3339(record: logging.LogRecord) -> str:
    """RFC 3339, local time with its offset."""
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def harmless(text: str, *, lines: bool = True) -> str:
    """Shows what would move the cursor or steer a terminal instead of letting it, escaped as in JSON. With `lines`,
    line feeds and tabs stay."""
    return (_CONTROLS if lines else _CONTROLS_AND_ENDS).sub(_escaped, text)


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


class TextFormatter(logging.Formatter):
    """`TIME LEVEL: message`, tracebacks below."""

    def __init__(self, *, colors: bool = False) -> None:
        super().__init__()
        self._colors = colors

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname}:"
        if self._colors:
            levels = [number for number in _COLORS if number <= record.levelno]
            color = _COLORS[max(levels)] if levels else _COLORS[logging.DEBUG]
            level = f"{color}{level}{_RESET}"
        parts = [record.getMessage()]
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return f"{rfc3339(record)} {level} {_CONTROLS.sub(_shown, chr(10).join(parts))}"


class JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, message, and the traceback as `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": rfc3339(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        # JSON itself escapes what is below the space only.
        return harmless(json.dumps(entry, ensure_ascii=False))
