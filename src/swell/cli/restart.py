"""`swell restart`: replace one worker, without loss."""

from __future__ import annotations

from collections.abc import Sequence

from swell.cli.remote import Progress, Usage, answered, no_words, parse

__all__ = ["SUMMARY", "main"]

SUMMARY = "replace one worker"

_USAGE = Usage(
    "restart",
    """\
usage: swell restart --worker ID [options]

Replaces one worker of a running instance by a new one with the same code. The old one serves until the new one is
ready, and then finishes what it is doing. Answers when the new one is ready.""",
    {"--worker ID": "The worker, as `swell status` numbers them.", "--json": "Print the answer as JSON."},
)


def main(argv: Sequence[str]) -> int:
    """0 when the successor is ready."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    no_words(_USAGE, asked)
    worker = asked.options.get("--worker")
    if worker is None:
        raise _USAGE.wrong("say which worker: --worker ID, as `swell status` numbers them")
    if not (worker.isascii() and worker.isdigit() and len(worker) < 19):
        raise _USAGE.wrong(f"--worker must be the number of a worker, not {worker}")
    client = asked.client()
    progress = Progress(f"restarting worker {worker}")
    try:
        document = client.command("/v1/restart", {"worker": int(worker)}, progress)
    finally:
        progress.clear()
    answered(asked, document)
    return 0
