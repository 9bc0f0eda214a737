"""Autobahn's verdicts, counted and written down. Called by `run.py`; knows the verdicts' names and nothing else."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

__all__ = ["CASES", "NON_STRICT_MOST", "Verdicts", "page"]

CASES = 517  # of autobahntestsuite 25.10
NON_STRICT_MOST = 7

#: Section of the suite → what it tests.
SECTIONS = {
    1: "Framing: text and binary messages of many sizes",
    2: "Pings and pongs",
    3: "Reserved bits",
    4: "Opcodes",
    5: "Fragmentation",
    6: "UTF-8",
    7: "Closing: codes, reasons, order",
    9: "Limits and performance: messages of up to 16 MiB",
    10: "Automatic fragmentation",
    12: "Compression: payloads and sizes",
    13: "Compression: parameters",
}

#: The suite's verdicts in our order; a case has one on its messages and one on its closing.
COLUMNS = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED")


class Verdicts:
    """`found` is Autobahn's index: case → {"behavior": …, "behaviorClose": …}."""

    def __init__(self, found: Mapping[str, Mapping[str, str]]) -> None:
        self.cases = {case: self._verdict(verdict) for case, verdict in found.items()}
        self.counts = Counter(self.cases.values())

    @staticmethod
    def _verdict(verdict: Mapping[str, str]) -> str:
        behavior, close = verdict["behavior"], verdict["behaviorClose"]
        if behavior not in COLUMNS or close not in COLUMNS:
            return "FAILED"  # "WRONG CODE", "UNCLEAN", "FAILED BY CLIENT" and what we do not know
        return max(behavior, close, key=COLUMNS.index)

    @property
    def complete(self) -> bool:
        return len(self.cases) == CASES

    @property
    def good(self) -> bool:
        failed = self.counts["FAILED"] + self.counts["UNIMPLEMENTED"]
        return bool(self.cases) and failed == 0 and self.counts["NON-STRICT"] <= NON_STRICT_MOST

    def of(self, verdict: str) -> list[str]:
        """The cases with that verdict, in the suite's order."""
        return sorted((case for case, found in self.cases.items() if found == verdict), key=_order)

    def summary(self) -> str:
        counted = ", ".join(f"{self.counts[name]} {name}" for name in COLUMNS if self.counts[name])
        lines = [f"{len(self.cases)} cases: {counted}"]
        lines += [f"{name}: {', '.join(self.of(name))}" for name in COLUMNS[1:] if self.counts[name]]
        return "\n".join(lines)

    def table(self) -> str:
        lines = [f"| Section | Cases | {' | '.join(COLUMNS)} |", "|---|" + "--:|" * (len(COLUMNS) + 1)]
        sections = sorted({_order(case)[0] for case in self.cases})
        for section in sections:
            counts = Counter(verdict for case, verdict in self.cases.items() if _order(case)[0] == section)
            name = f"{section}. {SECTIONS.get(section, '')}".rstrip()
            lines.append(_row(name, counts))
        lines.append(_row("**All**", self.counts))
        return "\n".join(lines)


def _row(name: str, counts: Counter[str]) -> str:
    return f"| {name} | {counts.total()} | " + " | ".join(str(counts[column]) for column in COLUMNS) + " |"


def _order(case: str) -> tuple[int, ...]:
    return tuple(int(part) for part in case.split("."))


def page(verdicts: Verdicts, requirements: Path, loop: str, minutes: float) -> str:
    """The text of `docs/autobahn.md`."""
    import swell

    pinned = dict(line.split("==") for line in requirements.read_text().split() if "==" in line)
    non_strict, informational = verdicts.of("NON-STRICT"), verdicts.of("INFORMATIONAL")
    notes = []
    if non_strict:
        notes.append(
            f"NON-STRICT, allowed by RFC 6455 but not what the suite prefers: {', '.join(non_strict)}. At most"
            f" {NON_STRICT_MOST} are accepted."
        )
    if informational:
        notes.append(f"INFORMATIONAL, behaviour that the suite only records: {', '.join(informational)}.")
    text = "\n\n".join(notes)
    return f"""# Autobahn

The verdicts of Autobahn's fuzzing client on a WebSocket echo served by Swell, as `make autobahn` has found them. This
page is written by `tools/autobahn/run.py`; repeat the command rather than editing it.

{verdicts.table()}

{text}

| | |
|---|---|
| Server | Swell {swell.__version__}, Python {platform.python_version()}, {loop}, `tools/autobahn/echo.py` |
| Options | none: permessage-deflate is on, every limit at its default |
| Client | autobahntestsuite {pinned["autobahntestsuite"]}, Twisted {pinned["Twisted"]}, Python 2.7 |
| Command | `make autobahn` ({minutes:.0f} minutes here) |
"""
