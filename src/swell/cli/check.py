"""`Check`: one line of `swell doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Check"]


@dataclass(frozen=True, slots=True)
class Check:
    """`fail` means that Swell cannot serve here. `advice` says what to change: of a `warn` what should be, of an `ok`
    what could be; empty if there is nothing."""

    name: str
    status: Literal["ok", "warn", "fail"]
    value: str
    advice: str = ""
