"""Swell, an ASGI server.

`run(app, **options)` serves until a signal comes; `Server(config)` serves on a loop that runs already; `Config` holds
the options. They are imported on first use, so that importing `swell` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swell.config import Config as Config
    from swell.supervisor import run as run
    from swell.worker import Server as Server

__all__ = ["Config", "Server", "__version__", "run"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Config":
        from swell.config import Config

        return Config
    if name == "Server":
        from swell.worker import Server

        return Server
    if name == "run":
        from swell.supervisor import run

        return run
    raise AttributeError(f"module 'swell' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
