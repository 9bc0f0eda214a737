"""The parent of workers: it holds the sockets, starts workers, replaces them, ends them, and serves no request itself.

`serve(config)` is the command line's entry and `run(app, **options)` Python's. Both go through a parent, also for one
worker; only where `run` cannot have one does it serve in the very process that has called it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from swell.config import Config
from swell.errors import ConfigError

__all__ = ["run", "serve"]

log = logging.getLogger("swell")


def serve(config: Config) -> int:
    """Serves until a signal comes. Returns the exit code: 0 as asked, 1 could not serve, 3 the application's fault."""
    from swell.supervisor import main

    return main.serve(config)


def run(app: str | Callable[..., Any], **options: object) -> None:
    """Serves `app` until SIGINT or SIGTERM. `options` are those of the command line, with underscores.

    The application runs in worker processes. One that is given as an object is in forks of this process, which never
    return from this call and do not run what this process has registered with `atexit`; nothing that it changes is
    seen here. In a program with other threads, outside of the main thread and on systems without a safe fork, an object
    is served by this very process, alone.

    Raises `ConfigError` for options that make no sense; ends the process with exit code 1 or 3 when the server or
    the application cannot start.
    """
    from swell.supervisor import main
    from swell.worker import process
    from swell.worker.main import run as run_here

    config = Config.make(app, **options)
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("swell.run() has a loop of its own, and one runs here already: use swell.Server")
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and process.belongs_to_a_parent:
        raise RuntimeError(
            "swell.run() was called while the application was imported or served:"
            ' put it under `if __name__ == "__main__":`'
        )
    reason = _why_without_parent(config, in_main_thread)
    if reason:
        if config.reload or config.workers.minimum > 1:
            what = "reload" if config.reload else f"workers={config.workers.minimum}"
            raise ConfigError(f"{what}: {reason}, so this process can only serve by itself, as one worker")
        run_here(app, **options)
        return
    with _handlers_kept():
        code = main.serve(config, own_process=False)
    if code:
        sys.exit(code)


def _why_without_parent(config: Config, in_main_thread: bool) -> str:
    """Why there cannot be a parent, or nothing."""
    from swell.supervisor.spawn import can_fork_here

    if not in_main_thread:
        return "swell.run() was called outside of the main thread, where no signals arrive"
    if callable(config.app) and not can_fork_here():
        if sys.platform != "linux":
            return "an application that is given as an object takes a fork, which is not safe on this system"
        return "the application is given as an object, and a process with other threads cannot be forked"
    return ""


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """The program gets the signal handlers back that it had."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
    before = {number: signal.getsignal(number) for number in (*numbers, signal.SIGCHLD)}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
