"""`swell scale`: set the number of workers of a running instance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from swell.cli.remote import Usage, answered, parse
from swell.config.workers import read_workers

__all__ = ["SUMMARY", "main"]

SUMMARY = "set the number of workers"

_USAGE = Usage(
    "scale",
    """\
usage: swell scale N           exactly N workers
       swell scale MIN..MAX    as many as the load asks for, within the range
       swell scale +1          one more; -1 one fewer, or any other number

Sets the number of workers of a running instance, until it is set again or the instance ends. Answers at once; workers
that are too many first finish what they are doing. With a range whose MIN is 0 an idle instance goes to sleep.""",
    {"--json": "Print the answer as JSON."},
)


def _wanted(word: str) -> dict[str, Any]:
    """The body of the request."""
    if re.fullmatch(r"[-+]\d{1,9}", word):
        if int(word) == 0:
            raise _USAGE.wrong(f"{word} changes nothing: say +1, -1, a number or a range")
        return {"by": int(word)}
    if re.fullmatch(r"\d+\.\.\d+|\d+", word):
        try:
            workers = read_workers(word)
        except ValueError as error:
            raise _USAGE.wrong(f"{word} {error}") from None
        if workers.fixed:
            return {"workers": workers.minimum}
        return {"min": workers.minimum, "max": workers.maximum}
    raise _USAGE.wrong(f"write a number, a range such as 1..8, or +1 or -1, not {word}")


def main(argv: Sequence[str]) -> int:
    """0 when the instance has taken the number over."""
    asked = parse(_USAGE, argv)
    if asked is None:
        return 0
    if not asked.words:
        raise _USAGE.wrong("say how many workers: swell scale 4, swell scale 1..8, swell scale +1")
    if len(asked.words) > 1:
        raise _USAGE.wrong(f"swell scale takes one number or range, not {' '.join(asked.words)}")
    body = _wanted(asked.words[0])
    answered(asked, asked.client().command("/v1/scale", body))
    return 0
