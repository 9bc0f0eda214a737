"""Starting `swell` where it may also fail to start: the process at once, or its exit code and what it wrote."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.server import QUIET, ServerProcess

SERVED = Path(__file__).parent / "served"
SECONDS = 30.0


@contextmanager
def launched(
    *arguments: str,
    directory: Path = SERVED,
    command: Sequence[str] = ("-m", "swell"),
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    before_start: Callable[[], None] | None = None,
    new_group: bool = False,
    stdin: bool = False,
) -> Iterator[ServerProcess]:
    """The process, which may still be starting. It is killed at the end if the test has not ended it."""
    process = subprocess.Popen(
        [sys.executable, *command, *arguments],
        cwd=directory,
        stdin=subprocess.PIPE if stdin else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **QUIET, **(environment or {})},
        pass_fds=pass_fds,
        preexec_fn=before_start,
        start_new_session=new_group,
    )
    with process:
        server = ServerProcess(process)
        try:
            yield server
        finally:
            if new_group:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            server.wait_for_end(SECONDS)


def outcome(*arguments: str, directory: Path = SERVED, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output of a `swell` that ends by itself."""
    with launched(*arguments, directory=directory, environment=environment) as process:
        code = process.wait_for_end(SECONDS)
        return code, process.log


def wait_listening(server: ServerProcess) -> int:
    """The port, 0 for a Unix socket."""
    found = server.wait_for_log(r"listening on (?:http://\S*?:(\d+)$|\S+)", SECONDS)
    return int(found[1] or 0)
