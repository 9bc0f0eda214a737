"""Servers whose standard output, the access log, goes somewhere else than their standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.raw import Connection, Response, connected
from support.server import ServerProcess, serving

__all__ = ["APP", "SERVED", "Asked", "access_entries", "ask", "logged", "pipelined", "stdout_to"]

SERVED = Path(__file__).parent / "served"
APP = "logged:app"

# A command that replaces its standard output before it becomes the server.
_REDIRECT = "import os, sys; os.dup2(int(sys.argv[1]), 1); os.execv(sys.argv[2], sys.argv[2:])"

Asked = Callable[..., Response]


def stdout_to(descriptor: int) -> list[str]:
    """To be given as `prefix`, with the descriptor in `pass_fds`."""
    return [sys.executable, "-c", _REDIRECT, str(descriptor)]


@contextmanager
def logged(path: Path, *options: str, loop: str = "asyncio", app: str = APP) -> Iterator[ServerProcess]:
    """A server whose access log is the file at `path`, complete once the block has ended."""
    with (
        open(path, "wb") as file,
        serving(
            app, *options, directory=SERVED, loop=loop, prefix=stdout_to(file.fileno()), pass_fds=[file.fileno()]
        ) as server,
    ):
        yield server


def access_entries(path: Path) -> list[dict[str, Any]]:
    """Every line of a JSON log; each must be a complete line and one object."""
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    entries = [json.loads(line) for line in data.split(b"\n")[:-1]]
    assert all(isinstance(entry, dict) for entry in entries)
    return entries


def ask(
    connection: Connection, target: str | bytes = "/", *fields: bytes, method: str = "GET", body: bytes = b""
) -> Response:
    """One request and its response."""
    target = target.encode() if isinstance(target, str) else target
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"host: a.example", *fields]
    if body:
        lines.append(b"content-length: %d" % len(body))
    connection.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    return connection.response(head_only=method == "HEAD")


def pipelined(server: ServerProcess, targets: list[str], *, batch: int = 50) -> None:
    """Asks for all targets on one connection, `batch` at a time, and reads every response."""
    with connected(server.address) as connection:
        for start in range(0, len(targets), batch):
            part = targets[start : start + batch]
            connection.send("".join(f"GET {target} HTTP/1.1\r\nhost: a\r\n\r\n" for target in part).encode())
            for _ in part:
                assert connection.response().status == 200
