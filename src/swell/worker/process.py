"""What one server does to its own process: descriptors, garbage, and an end that is sure to come.

Only the command line and `run` own their process; a server on somebody else's loop does none of this.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import logging
import os
import resource
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

__all__ = [
    "DUMP_SIGNAL", "LEFT_TO_THE_PARENT", "ExitGuard", "code_of", "dump_stacks_on_request", "end_process",
    "flush_output", "leave_signals_to_the_parent", "raise_file_limit", "settle_memory",
]  # fmt: skip

log = logging.getLogger("swell")

# True in the processes that a parent has started.
belongs_to_a_parent = False

# Hard limits are often absurd (2**30 in containers), and the kernel sizes tables by the soft one.
FILES_AT_MOST = 1 << 20
# Asks a process of ours to print its stacks. A real-time signal, because applications use the named ones.
DUMP_SIGNAL = getattr(signal, "SIGRTMIN", signal.SIGUSR1) + (5 if hasattr(signal, "SIGRTMIN") else 0)


# Those that reach a process of ours beside its parent.
LEFT_TO_THE_PARENT = (signal.SIGINT, signal.SIGTERM)


def raise_file_limit() -> None:
    """Raises the soft limit of open files to the hard one: each connection takes a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_AT_MOST if hard == resource.RLIM_INFINITY else min(hard, FILES_AT_MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.debug("the limit of open files stays at %d: %s", soft, error)
    else:
        log.debug("the limit of open files was raised from %d to %d", soft, wanted)


def settle_memory() -> None:
    """What is alive once the application has started stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


def dump_stacks_on_request(file: int) -> None:
    """Writes the stacks of all threads to a descriptor on `DUMP_SIGNAL`, and on a crash such as SIGSEGV.

    Done below the interpreter: it works while the GIL is held.
    """
    faulthandler.enable(file)
    faulthandler.register(DUMP_SIGNAL, file, all_threads=True, chain=False)


def leave_signals_to_the_parent() -> None:
    """Ctrl-C reaches every process of the terminal, a service manager's SIGTERM every process of the service: the
    parent alone acts on it, until a worker serves. A handler, unlike SIG_IGN, is not inherited by programs that the
    application starts. What was blocked meanwhile arrives."""
    me, parent = os.getpid(), os.getppid()

    def handle(number: int, frame: FrameType | None) -> None:
        # Whoever has lost its parent can be ended. A fork of ours is somebody else's child for a moment.
        if number == signal.SIGTERM and os.getpid() == me and os.getppid() != parent:
            os._exit(128 + number)

    for number in LEFT_TO_THE_PARENT:
        signal.signal(number, handle)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LEFT_TO_THE_PARENT)


def code_of(request: SystemExit) -> int:
    """The exit code that `sys.exit` asks for."""
    return request.code if isinstance(request.code, int) else int(request.code is not None)


def end_process(code: int) -> NoReturn:
    """Ends a process that may have been forked in the middle of somebody else's stack, which is not to be unwound here.

    Does what the interpreter does at exit: waits for threads, calls what was registered, writes what is buffered.
    """
    # The interpreter's own way, and multiprocessing's; thread pools hang on it.
    threading._shutdown()  # type: ignore[attr-defined]  # see above
    atexit._run_exitfuncs()
    flush_output()
    os._exit(code)


def flush_output() -> None:
    """Before a fork, so that what waits to be written is not written by both."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


class ExitGuard:
    """Ends the process when it does not end by itself, because a thread or a task does not.

    Python waits for every ordinary thread at exit, without a bound; a request that hangs in a thread pool would hold
    the process for ever.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._called_off = False

    def arm(self, seconds: float, code: int) -> None:
        """Lets the process have so many more seconds, or fewer than it was given before."""
        deadline = time.monotonic() + seconds
        with self._changed:
            if self._deadline is None:
                threading.Thread(target=self._wait, args=(code,), name="swell exit guard", daemon=True).start()
            self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)
            self._changed.notify()

    def call_off(self) -> None:
        """The process lives on."""
        with self._changed:
            self._called_off = True
            self._changed.notify()

    def _wait(self, code: int) -> None:
        with self._changed:
            while not self._called_off and self._deadline is not None:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            if self._called_off:
                return
        running = [t.name for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
        what = f"threads that still run ({', '.join(running)})" if running else "tasks that still run"
        log.warning("ending without waiting any longer for %s", what)
        logging.shutdown()
        os._exit(code)
