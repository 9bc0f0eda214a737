"""`swell reload`: new workers with the code as it is now, without loss."""

from __future__ import annotations

from collections.abc import Sequence

from swell.cli.remote import Progress, Usage, answered, no_words, parse

__all__ = ["SUMMARY", "main"]

SUMMARY = "replace all workers by new ones with the code as it is now"

_USAGE = Usage(
    "reload",
    """\
usage: swell reload [options]

Replaces all workers of a running instance by new ones, which import the application anew. The old ones serve until the
new ones are ready, and then finish what they are doing. If the new ones cannot start, the old ones serve on and the
exit code is 1. Answers when the new ones are ready; Ctrl-C ends the waiting, not the reload.""",
    {"--json": "Print the answer as JSON."},
)


def main(argv: Sequence[str]) -> int:
    """0 when the new workers are ready."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    no_words(_USAGE, asked)
    client = asked.client()
    progress = Progress("reloading", client.status())
    try:
        document = client.command("/v1/reload", {}, progress)
    finally:
        progress.clear()
    answered(asked, document)
    return 0
