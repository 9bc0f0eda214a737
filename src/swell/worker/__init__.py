"""One worker: it loads the application, runs its lifespan and drives the engine on an event loop.

`serve(config)` is the command line's entry, `run(app, **options)` the same from Python, `Server` serves on a loop that
runs already.
"""

from __future__ import annotations

from swell.worker.main import run, serve
from swell.worker.server import Server

__all__ = ["Server", "run", "serve"]
