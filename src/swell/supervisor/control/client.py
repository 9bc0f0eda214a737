"""The other end of the control socket: finds the running instance, asks, and says in one line what went wrong.

HTTP/1.1 by the standard library over a Unix socket (RFC 9112 leaves the transport open). Never waits without a bound
for an instance that has died or hangs: while a long command runs, its status is asked for on another connection. Knows
the documents only as JSON. Called by the commands of `swell.cli`; runs no event loop.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swell.errors import SwellError
from swell.supervisor.runtime import CONTROL, alive, answers, instance_names, runtime_directories

__all__ = ["Client", "ControlError", "Found", "find"]

# A parent does nothing that takes long on its loop.
ANSWER_SECONDS = 5.0
# How often the status is asked for while a long command runs, and how long the instance may be silent meanwhile.
TICK_SECONDS, SILENCE_SECONDS = 0.5, 15.0
# Between the last word on the control socket and the end of the process.
EXIT_SECONDS = 10.0
_UCRED = struct.Struct("3i")


class ControlError(SwellError):
    """The instance could not be reached, or has refused."""


@dataclass(frozen=True, slots=True)
class Found:
    """A running instance's name and control socket; the name is empty when only the path is known."""

    name: str
    path: Path


def find(
    name: str = "", control: str = "", runtime_dir: str = "", environ: Mapping[str, str] = os.environ, why: str = ""
) -> Found:
    """The instance of that name or at that path, or else the only one that runs. Raises `ControlError`.

    `why` says where a name that was not given on the command line comes from.
    """
    if control:
        return Found(name, Path(control).absolute())
    places = runtime_directories(runtime_dir, environ)
    running: list[Found] = []
    silent: list[str] = []
    for place in places:
        for entry in instance_names(place):
            path = place / entry / CONTROL
            if alive(place / entry):
                if os.path.lexists(path):
                    running.append(Found(entry, path))
                else:
                    silent.append(entry)
    matching = [found for found in running if found.name == name] if name else running
    if len(matching) == 1:
        return matching[0]
    if name and name in silent:
        raise ControlError(f"{name} was started with --control off and takes no commands: use signals")
    names = ", ".join(dict.fromkeys(found.name for found in running))
    if matching:
        if len({found.name for found in matching}) > 1:
            raise ControlError(f"{len(running)} instances are running, say which one: --name with one of {names}")
        paths = ", ".join(str(found.path) for found in matching)
        raise ControlError(f"several instances have the name {matching[0].name}, say --control with one of {paths}")
    if name:
        there = f"running: {names}" if running else "none is running"
        raise ControlError(f"no instance named {name}{why and f' ({why})'} is running; {there}")
    if silent:
        raise ControlError(f"{', '.join(silent)} runs with --control off and takes no commands: use signals")
    looked = f"looked in {', '.join(map(str, places))}" if places else "there is no runtime directory"
    raise ControlError(
        f"no instance is running ({looked}): start one with `swell serve MODULE:ATTRIBUTE`,"
        " or say where it is with --runtime-dir or --control"
    )


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path
        self.peer_pid = 0

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(str(self._path))
        if hasattr(socket, "SO_PEERCRED"):
            # Whose server this is. In a directory where everybody may write, it could be anybody's.
            packed = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            self.peer_pid, uid, _ = _UCRED.unpack(packed)
            if os.geteuid() not in (0, uid) and uid != 0:
                raise ControlError(f"{self._path} belongs to user {uid}, not to you: run the command as that user")


class Client:
    """Asks one instance. A connection per question: what hangs or dies spoils nothing else."""

    def __init__(self, found: Found) -> None:
        self.path = found.path
        self._name = found.name

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return self._name or str(self.path)

    def get(self, target: str) -> dict[str, Any]:
        """The document at `target`."""
        return self.command(target, None)

    def status(self) -> dict[str, Any]:
        """The document of `protocol.Status`."""
        document = self.get("/v1/status")
        self._name = document["instance"]["name"]
        return document

    def command(
        self, target: str, body: Mapping[str, Any] | None, progress: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Posts `body`, or gets if it is None, and returns the answer. Raises `ControlError` for any other.

        With `progress` it may take as long as the instance lives; `progress` is called with its status meanwhile.
        """
        with contextlib.closing(_Connection(self.path)) as connection:
            try:
                self._send(connection, target, body)
                if progress is not None:
                    self._wait(connection.sock, progress)
                response = connection.getresponse()
                content, status = response.read(), response.status
            except (http.client.HTTPException, OSError) as error:
                raise self._failure(error) from None
        return self._document(content, status)

    def follow(self, target: str) -> Iterator[dict[str, Any] | None]:
        """The JSON lines at `target`, for as long as there are any; None when there is nothing, every few seconds."""
        with contextlib.closing(_Connection(self.path)) as connection:
            try:
                connection.request("GET", target)
                response = connection.getresponse()
                if response.status >= 400:
                    self._document(response.read(), response.status)
                while line := response.readline():
                    yield json.loads(line) if line.strip() else None
            except (http.client.HTTPException, OSError, ValueError) as error:
                raise self._failure(error) from None

    @staticmethod
    def _send(connection: _Connection, target: str, body: Mapping[str, Any] | None) -> None:
        if body is None:
            connection.request("GET", target)
        else:
            connection.request("POST", target, json.dumps(body), {"Content-Type": "application/json"})

    def _wait(self, sock: socket.socket, progress: Callable[[dict[str, Any]], None]) -> None:
        """Until there is something to read: an answer, or the end."""
        heard = time.monotonic()
        while not select.select([sock], [], [], TICK_SECONDS)[0]:
            try:
                document = self.status()
            except ControlError:
                # The connection of the command tells more about an end: look at it again first.
                if time.monotonic() - heard < SILENCE_SECONDS:
                    continue
                raise
            heard = time.monotonic()
            progress(document)

    def _document(self, content: bytes, status: int) -> dict[str, Any]:
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ControlError(f"{self.path} is not the control socket of a Swell instance")
        if status >= 400:
            raise ControlError(f"{self.name}: {document.get('detail') or document.get('title') or status}")
        return document

    def _failure(self, error: Exception) -> ControlError:
        match error:
            case FileNotFoundError() | NotADirectoryError():
                return ControlError(f"no instance is running behind {self.path}: there is no such socket")
            case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
                return ControlError(f"{self.name} ended before it answered; its log says why")
            case ConnectionRefusedError():
                return ControlError(f"nobody listens on {self.path}: the instance has ended without a word")
            case PermissionError():
                return ControlError(f"{self.path} belongs to another user: run the command as that user")
            case TimeoutError() | BlockingIOError():
                return ControlError(
                    f"{self.name} does not answer within {ANSWER_SECONDS:g} seconds; if its processes hang, end them"
                    " with SIGKILL"
                )
            case http.client.HTTPException():
                return ControlError(f"{self.path} is not the control socket of a Swell instance")
            case _:
                return ControlError(
                    f"cannot use the control socket {self.path}: {getattr(error, 'strerror', None) or error}"
                )

    def watch_end(self) -> Ending:
        """To be called before the instance is told to end."""
        document = self.status()
        with contextlib.closing(_Connection(self.path)) as connection:
            try:
                connection.connect()
            except OSError as error:
                raise self._failure(error) from None
            visible = connection.peer_pid > 0  # 0: it lives in a container whose processes we cannot see
        return Ending(self, document["instance"]["pid"], visible=visible)


class Ending:
    """Waits for an instance to be gone: its socket, and its process where it is visible. Use as a context manager."""

    def __init__(self, client: Client, pid: int, *, visible: bool) -> None:
        self._client = client
        self._pid = pid
        self._process = -1
        if visible and hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # an old kernel, or no such process
                self._process = os.pidfd_open(pid)

    def wait(self, progress: Callable[[dict[str, Any]], None]) -> None:
        """Raises `ControlError` when the process stays although its socket has gone."""
        heard = time.monotonic()
        while not self._exited(TICK_SECONDS if self._process >= 0 else 0) and answers(self._client.path):
            if self._process < 0:
                time.sleep(TICK_SECONDS)
            try:
                document = self._client.status()
                if document["instance"]["pid"] != self._pid:
                    return  # a service manager has started the next one already
                progress(document)
                heard = time.monotonic()
            except ControlError:
                if time.monotonic() - heard > SILENCE_SECONDS and answers(self._client.path):
                    raise
        if self._process >= 0 and not self._exited(EXIT_SECONDS):
            raise ControlError(f"{self._client.name} has closed its control socket, but its process still runs")

    def _exited(self, seconds: float) -> bool:
        return self._process >= 0 and bool(select.select([self._process], [], [], seconds)[0])

    def __enter__(self) -> Ending:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process >= 0:
            os.close(self._process)
            self._process = -1
