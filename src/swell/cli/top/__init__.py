"""`swell top`: a running instance and its workers, live.

`overview` makes numbers of two looks at the instance, `plain` prints them, `screen` is the live view and the only part
that needs Textual. This file is the command.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from swell.cli.remote import Asked, Usage, no_words, parse
from swell.cli.terminal import emit
from swell.cli.top.overview import Overview
from swell.cli.top.plain import plain
from swell.errors import SwellError

if TYPE_CHECKING:
    from swell.supervisor.control.client import Client

__all__ = ["SUMMARY", "main"]

SUMMARY = "watch a running instance live"

_USAGE = Usage(
    "top",
    """\
usage: swell top [options]

Watches a running instance: traffic, latency, errors and why there are as many workers as there are; a row for each
worker with what it serves and for how long. Keys: s sorts by the next column, r turns the order round, / filters, Enter
looks into a worker, l lists the decisions about the number of workers, space stops the picture, q quits.""",
    {
        "--once": "Print one picture and end; needs nothing but a pipe.",
        "--json": "Print it as JSON and end.",
        "--interval SECONDS": "Between two looks. [1]",
    },
)
# Between the two looks that --once makes.
ONCE_SECONDS = 0.5


def main(argv: Sequence[str]) -> int:
    """0 when the user quits."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    no_words(_USAGE, asked)
    interval = _interval(asked)
    client = asked.client()
    if "--json" in asked.options or "--once" in asked.options:
        overview = once(client)
        if "--json" in asked.options:
            emit(json.dumps(overview.document(), indent=2))
        else:
            emit("\n".join(plain(overview, _width())))
        return 0
    if not sys.stdout.isatty():
        raise _USAGE.wrong("swell top needs a terminal; --once prints one picture, --json a document")
    try:
        from swell.cli.top.screen import TopApp
    except ImportError as error:
        if not (error.name or "").startswith(("textual", "rich")):
            raise
        raise SwellError("swell top needs Textual: pip install 'swell[top]' (--once and --json work without)") from None
    client.status()  # who is not there is told before the screen is taken
    app = TopApp(client, interval)
    app.run()
    if app.ended:
        raise SwellError(app.ended)
    return 0


def once(client: Client) -> Overview:
    """Two looks that follow each other."""
    before, began = client.status(), time.monotonic()
    time.sleep(ONCE_SECONDS)
    after = client.status()
    return Overview.of(after, before, time.monotonic() - began, client.get("/v1/explain?last=50"))


def _width() -> int | None:
    """Columns of one picture. Who reads from a pipe gets lines whole, or says by COLUMNS how much there is room for."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdecimal():
        return None
    return max(60, shutil.get_terminal_size().columns)


def _interval(asked: Asked) -> float:
    word = asked.options.get("--interval", "1")
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise _USAGE.wrong(f"--interval must be a number of seconds from 0.1 to 3600, not {word}")
    return seconds
