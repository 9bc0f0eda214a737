"""What the page of one parent has shown, left for the next one: the points of its charts and the decisions.

A file in the instance's directory, between the old parent's last word and the new one's first. The two may be of
different versions: what cannot be read is left out, and nobody's upgrade fails for it. Called by `main`.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from swell.supervisor.admin.feed import Feed
from swell.supervisor.commands import Commands
from swell.supervisor.control.protocol import Decision

__all__ = ["find", "leave"]


def leave(path: Path, feed: Feed, commands: Commands) -> None:
    """For the next one."""
    said = {"feed": feed.dump(), "decisions": commands.decisions}
    with contextlib.suppress(OSError):
        path.write_text(json.dumps(said, separators=(",", ":")), encoding="utf-8")


def find(path: Path, feed: Feed, commands: Commands) -> None:
    """Of the one before."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        said = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        commands.remember([_decision(one) for one in said["decisions"]])
        feed.load(said["feed"])


def _decision(said: dict[str, object]) -> Decision:
    at, before, after, inputs = said["at"], said["before"], said["after"], said["inputs"]
    if not (isinstance(at, float) and isinstance(before, int) and isinstance(after, int) and isinstance(inputs, dict)):
        raise TypeError("this is no decision")
    guard = said["guard"]
    return Decision(
        at=at, before=before, after=after, rule=str(said["rule"]), guard=None if guard is None else str(guard),
        inputs=inputs, text=str(said["text"]),
    )  # fmt: skip
