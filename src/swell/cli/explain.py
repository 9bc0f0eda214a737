"""`swell explain`: why there are as many workers as there are."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Any

from swell.cli.output import terminal_width
from swell.cli.remote import Usage, no_words, parse
from swell.cli.terminal import emit

__all__ = ["SUMMARY", "main"]

SUMMARY = "say why there are as many workers as there are"

_USAGE = Usage(
    "explain",
    """\
usage: swell explain [options]

Says why a running instance has as many workers as it has, and lists its latest decisions: when, from how many to how
many, and why. A decision that a guard held back is listed too.""",
    {"--last N": "How many decisions, the latest ones, at most 1000. [20]", "--json": "Print them with their inputs."},
)


def main(argv: Sequence[str]) -> int:
    """Prints the explanation."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    no_words(_USAGE, asked)
    last = asked.options.get("--last", "20")
    if not (last.isascii() and last.isdigit() and 1 <= int(last[:9]) <= 1000):
        raise _USAGE.wrong(f"--last must be a number from 1 to 1000, not {last}")
    document = asked.client().get(f"/v1/explain?last={last}")
    emit(json.dumps(document, indent=2) if "--json" in asked.options else _text(document, terminal_width()))
    return 0


def _text(document: Mapping[str, Any], width: int) -> str:
    lines = textwrap.wrap(document["now"], width) or [""]
    today = time.strftime("%Y-%m-%d")
    for decision in document["decisions"]:
        at = time.localtime(decision["at"])
        day, clock = time.strftime("%Y-%m-%d", at), time.strftime("%H:%M:%S", at)
        head = f"{clock if day == today else f'{day} {clock}'}  {decision['before']} -> {decision['after']}  "
        text = decision["text"] or decision["rule"]
        indent = " " * len(head)
        lines += textwrap.wrap(head + text, width, subsequent_indent=indent, drop_whitespace=True)
    if not document["decisions"]:
        lines.append("No decisions yet.")
    return "\n".join(lines)
