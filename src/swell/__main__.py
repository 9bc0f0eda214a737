"""The entry of the command: `swell`, and `python -m swell`, which is the same.

Apart from `swell.cli` because importing that takes long enough for a Ctrl-C to come in between.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> int:
    """Runs the command line. Returns the exit code; 130 after Ctrl-C, as for any program that is interrupted."""
    try:
        from swell.cli import main as command

        return command()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
