"""The process around a server: logging, event loop, signals, exit code, and an end that is sure to come.

`serve` is the command line's, `run` Python's. The application is imported before the loop runs, so that it can be
interrupted and may run a loop of its own meanwhile; the loop exists already and is the current one.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from socket import socket
from typing import Any

from swell.config import Config
from swell.errors import AppLoadError, SwellError
from swell.telemetry import set_up
from swell.worker.application import load_application
from swell.worker.asgi import Application
from swell.worker.attached import Attachment
from swell.worker.process import ExitGuard, raise_file_limit, settle_memory
from swell.worker.server import CANCEL_GRACE, Server
from swell.worker.signals import SIGNALS, interrupting
from swell.worker.sockets import Listeners
from swell.worker.tracebacks import application_stack, application_traceback

__all__ = ["complain", "run", "serve"]


def run(app: str | Callable[..., Any], **options: object) -> None:
    """Serves `app` until SIGINT or SIGTERM. `options` are those of the command line, with underscores.

    Raises `ConfigError` for options that make no sense; ends the process with exit code 1 or 3 when the server or
    the application cannot start.
    """
    guard = ExitGuard()
    code = serve(Config.make(app, **options), guard=guard)
    guard.call_off()
    if code:
        sys.exit(code)


def serve(
    config: Config,
    *,
    sockets: Sequence[socket] | None = None,
    load: Callable[[], Application] | None = None,
    attachment: Attachment | None = None,
    guard: ExitGuard | None = None,
) -> int:
    """Serves until a signal comes. Returns the exit code: 0 as asked, 1 could not serve, 3 the application's fault.

    `sockets` are listening sockets to use instead of opening the addresses, `load` gives the application instead of
    importing the one that `config` names, `attachment` ties the server to a parent. The process is ended by force if it
    has not ended in time after this function has returned, unless `guard` is called off.
    """
    guard = guard or ExitGuard()
    try:
        set_up(config)
        # Ctrl-C reaches every process of the terminal: a parent alone acts on it.
        with interrupting(SIGNALS if attachment is None else (signal.SIGTERM,)):
            _serve(config, sockets, load or (lambda: load_application(config)), attachment, guard)
    except SwellError as error:
        return complain(error)
    except SystemExit as request:
        if attachment is not None:
            calls = reversed(list(traceback.walk_tb(request.__traceback__)))
            attachment.last_words(f"sys.exit({request.code!r}) was called:\n{application_stack(calls)}")
        raise
    except KeyboardInterrupt:
        guard.arm(CANCEL_GRACE, 0)
    return 0


def complain(error: SwellError) -> int:
    """Prints the error, and the application's own traceback where it has one. Returns the exit code."""
    if isinstance(error, AppLoadError) and error.__cause__ is not None:
        sys.stderr.write(application_traceback(error.__cause__))
    sys.stderr.write(f"swell: {error}\n")
    return error.exit_code


def _serve(
    config: Config,
    sockets: Sequence[socket] | None,
    load: Callable[[], Application],
    attachment: Attachment | None,
    guard: ExitGuard,
) -> None:
    raise_file_limit()
    factory = loop_factory(config)
    with contextlib.ExitStack() as stack:
        if sockets is None and attachment is None:
            sockets = stack.enter_context(Listeners(config)).sockets
        runner = stack.enter_context(asyncio.Runner(loop_factory=factory))
        loop = runner.get_loop()
        asyncio.set_event_loop(loop)
        stack.callback(asyncio.set_event_loop, None)
        server = Server(config, application=load(), before_accepting=settle_memory, attachment=attachment)
        try:
            runner.run(server.serve(sockets, handle_signals=True))
        finally:
            # What remains is to cancel tasks and to wait for threads, neither of which Python bounds.
            if server.force_exit:
                guard.arm(CANCEL_GRACE, 0)
            elif config.timeout_graceful_shutdown is not None:
                used = 0.0 if server.ending_since is None else time.monotonic() - server.ending_since
                guard.arm(max(config.timeout_graceful_shutdown - used, CANCEL_GRACE), 0)


def loop_factory(config: Config) -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it is installed and wanted, else asyncio's own loop."""
    if config.loop == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        if config.loop == "uvloop":
            raise SwellError("--loop uvloop: it is not installed; pip install 'swell[uvloop]'") from None
        return asyncio.new_event_loop
    return uvloop.new_event_loop
