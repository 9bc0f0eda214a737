"""`swell drain`: end a running instance behind a load balancer."""

from __future__ import annotations

from collections.abc import Sequence

from swell.cli.remote import Usage, no_words, parse
from swell.cli.stop import end

__all__ = ["SUMMARY", "main"]

SUMMARY = "end a running instance after the grace for load balancers"

_USAGE = Usage(
    "drain",
    """\
usage: swell drain [options]

Ends a running instance as `swell stop` does, but goes on accepting connections for the time of --drain-grace, while its
readiness says no: a load balancer has taken it out of service by then. Answers when the instance has ended; Ctrl-C
ends the waiting, not the drain.""",
    {"--json": "Print the answer as JSON."},
)


def main(argv: Sequence[str]) -> int:
    """0 when the instance has ended."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    no_words(_USAGE, asked)
    return end(asked, "/v1/drain", {}, "draining")
