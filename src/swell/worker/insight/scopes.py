"""Which request does a stack belong to? The ASGI scope says it, and it is an argument of the outermost call.

Used for stacks and tasks, from any thread. Knows nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any

__all__ = ["described", "request_line", "scope_of"]


def scope_of(frames: Iterable[FrameType]) -> Mapping[str, Any] | None:
    """The first argument, from the outside, that is the scope of a request. `frames`: the outermost first."""
    for frame in frames:
        code = frame.f_code
        if not code.co_argcount:
            continue
        values = frame.f_locals
        for name in code.co_varnames[: code.co_argcount]:
            scope = values.get(name)
            if isinstance(scope, dict) and "path" in scope and scope.get("type") in ("http", "websocket"):
                return scope
    return None


def request_line(scope: Mapping[str, Any]) -> str:
    """`GET /x`, as the log and the scoreboard have it."""
    return f"{scope.get('method', 'WebSocket')} {scope['path']}"


def described(scope: Mapping[str, Any]) -> dict[str, Any]:
    """A request as a document; `id` is None where requests get none."""
    state = scope.get("state")
    made = state.get("request_id") if isinstance(state, dict) else None
    return {
        "id": made if isinstance(made, str) else None,
        "type": scope["type"],
        "method": scope.get("method", "WebSocket"),
        "path": str(scope["path"]),
    }
