"""The wire corpus as Python objects: bytes, and what they mean.

The expectations are checked by ``cargo test`` against the parser alone; Python uses the same files against h11 and
llhttp and against a running server. A string in an expectation stands for bytes, one per character (latin-1).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent / "corpus"

End = Literal["idle", "partial", "close", "upgrade", "error"]


@dataclass(frozen=True)
class Request:
    """One request that the bytes contain."""

    method: bytes
    path: bytes
    query: bytes
    version: str
    body: bytes
    keep_alive: bool
    complete: bool = True
    fields: list[tuple[bytes, bytes]] | None = None
    expect_continue: bool | None = None
    websocket: bool | None = None


@dataclass(frozen=True)
class Case:
    """One file of the corpus."""

    name: str
    data: bytes
    group: str
    why: str
    end: End
    requests: list[Request] = field(default_factory=list)
    status: int | None = None
    section: str | None = None


def _request(table: dict[str, Any]) -> Request:
    known = dict(table)
    for key in ("method", "path", "query", "body"):
        known[key] = known[key].encode("latin-1")
    if "fields" in known:
        known["fields"] = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in known["fields"]]
    return Request(**known)


@cache
def load() -> tuple[Case, ...]:
    """All cases, sorted by name."""
    cases = []
    for path in sorted(FOLDER.glob("*.http")):
        table = tomllib.loads(path.with_suffix(".toml").read_text("utf-8"))
        error = table.get("error", {})
        cases.append(
            Case(
                name=path.stem,
                data=path.read_bytes(),
                group=table["class"],
                why=table["why"],
                end=table["end"],
                requests=[_request(request) for request in table.get("request", [])],
                status=error.get("status"),
                section=error.get("section"),
            )
        )
    return tuple(cases)
