"""`swell stop`: end a running instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swell.cli.remote import Asked, Progress, Usage, answered, no_words, parse

__all__ = ["SUMMARY", "end", "main"]

SUMMARY = "end a running instance"

_USAGE = Usage(
    "stop",
    """\
usage: swell stop [options]

Ends a running instance: no new connections, and running requests finish within --timeout-graceful-shutdown. Answers
when the instance has ended; Ctrl-C ends the waiting, not the stop. `swell stop --now` hurries a stop.""",
    {"--now": "Wait for nobody: running requests are lost.", "--json": "Print the answer as JSON."},
)


def end(asked: Asked, target: str, body: Mapping[str, Any], doing: str) -> int:
    """Tells an instance to end, and waits until it has."""
    client = asked.client()
    progress = Progress(doing)
    with client.watch_end() as ending:
        try:
            document = client.command(target, body, progress)
            ending.wait(progress)
        finally:
            progress.clear()
    # Its own sentence says that the end has begun.
    answered(asked, {**document, "text": f"{client.name} has ended"})
    return 0


def main(argv: Sequence[str]) -> int:
    """0 when the instance has ended."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    no_words(_USAGE, asked)
    return end(asked, "/v1/stop", {"now": "--now" in asked.options}, "stopping")
