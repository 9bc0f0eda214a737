"""`python -m swell` is `swell`."""

from __future__ import annotations

from swell.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
