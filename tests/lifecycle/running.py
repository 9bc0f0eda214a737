"""Where the served application is."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SERVED"]

SERVED = Path(__file__).parent / "served"
