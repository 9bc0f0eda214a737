"""What the terminal can: colours, rewriting a line, characters. Knows no command."""

from __future__ import annotations

import os
import sys
from typing import IO

from swell.telemetry.formats import harmless

__all__ = ["colored", "emit", "erase", "rewrites", "wants_color"]

_COLORS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "dim": 2, "bold": 1}


def rewrites(stream: IO[str]) -> bool:
    """Whether a line can be written over."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def wants_color(stream: IO[str]) -> bool:
    """Only where somebody looks at it, and does not object: https://no-color.org"""
    return rewrites(stream) and not os.environ.get("NO_COLOR")


def colored(text: str, color: str, on: bool) -> str:
    return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if on and color else text


def erase() -> str:
    """Back to the start of a line, which is empty then."""
    return "\r\x1b[K"


def emit(text: str, *, painted: bool = False) -> None:
    """Prints lines that may hold what others chose, such as names and request targets: nothing in them steers the
    terminal, and what it cannot show does not end the command. `painted`: there are colours in them, and whoever put
    them there has made the rest harmless."""
    encoding = sys.stdout.encoding or "ascii"
    text = text if painted else harmless(text)
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
