"""What one parent passes on to the next: descriptors that it inherits, and what they are, in one environment variable.

The two may be of different versions of Swell: what is written here is read with care, and anything that does not fit
ends the new one with a reason, while the old one goes on. Written and read by `upgrade` and `main`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swell.errors import StartupError
from swell.supervisor.inherited import Group
from swell.supervisor.instance import InstanceDirectory
from swell.worker.sockets import Listeners

__all__ = ["VARIABLE", "Handover"]

# Not of the form SWELL_*, whose variables are options.
VARIABLE = "_SWELL_HANDOVER"
# Raised when a field changes its meaning or is no longer there. New fields may be added freely.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Handover:
    """`admin` is the socket of --admin, if there is one, `talk` the one between the two parents; `reports` leads to the
    process that stands in for both, if there is one. `target` is the number of workers that there were to be,
    `ticket_keys` are those of TLS sessions."""

    groups: list[Group]
    directory: Path
    control: socket.socket | None
    admin: socket.socket | None
    talk: socket.socket
    reports: socket.socket | None
    target: int
    ticket_keys: tuple[bytes, ...]

    @staticmethod
    def describe(
        listeners: Listeners,
        directory: InstanceDirectory,
        talk: socket.socket,
        reports: socket.socket | None,
        target: int,
        tickets: int | None = None,
    ) -> tuple[str, list[int]]:
        """The variable's value, and the descriptors that have to be inherited. `tickets` is one of a file with keys."""
        groups = []
        for origin, indexes in zip(listeners.origins, listeners.groups, strict=True):
            sockets = [listeners.sockets[index] for index in indexes]
            name = sockets[0].getsockname()
            inode = listeners.inodes.get(name) if isinstance(name, str) else None
            descriptors = [one.fileno() for one in sockets]
            groups.append({"origin": origin, "name": name, "descriptors": descriptors, "inode": inode})
        said = {
            "format": FORMAT,
            "parent": os.getpid(),
            "groups": groups,
            "directory": str(directory.path),
            "control": None if directory.listener is None else directory.listener.fileno(),
            "admin": None if directory.admin is None else directory.admin.fileno(),
            "talk": talk.fileno(),
            "reports": None if reports is None else reports.fileno(),
            "target": target,
            "tickets": tickets,
        }
        others = [one.fileno() for one in (directory.listener, directory.admin, talk, reports) if one is not None]
        others += [] if tickets is None else [tickets]
        return json.dumps(said, separators=(",", ":")), [*(one.fileno() for one in listeners.sockets), *others]

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Handover | None:
        """What this process was started with, once. Raises `StartupError` when it is not what it says it is."""
        text = environ.pop(VARIABLE, None)
        if text is None:
            return None
        try:
            said = json.loads(text)
            if said["parent"] != os.getppid():
                return None  # meant for a process further up, which let us see its environment
            if said["format"] != FORMAT:
                raise ValueError(f"its format is {said['format']}, and this version of Swell reads {FORMAT}")
            return cls._read(said)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise StartupError(f"cannot take over from the running server: {reason}; restart it instead") from None

    @classmethod
    def _read(cls, said: dict[str, Any]) -> Handover:
        with contextlib.ExitStack() as undo:

            def opened(number: int | None) -> socket.socket | None:
                return None if number is None else undo.enter_context(_socket(number))

            groups = []
            for group in said["groups"]:
                sockets = [undo.enter_context(_listener(number, group["name"])) for number in group["descriptors"]]
                groups.append(Group(str(group["origin"]), sockets, group["inode"]))
            control = opened(said["control"])
            admin = opened(said.get("admin"))
            talk = undo.enter_context(_socket(said["talk"]))
            reports = opened(said["reports"])
            directory = Path(said["directory"])
            if not directory.is_dir():
                raise ValueError(f"there is no directory {directory}")
            keys = _ticket_keys(said.get("tickets"))
            found = cls(groups, directory, control, admin, talk, reports, int(said["target"]), keys)
            undo.pop_all()
            return found


def _socket(number: int) -> socket.socket:
    if not isinstance(number, int) or number < 0:  # with None, a new socket would be made
        raise ValueError(f"{number} is no descriptor")
    try:
        found = socket.socket(fileno=number)
    except OSError:
        raise ValueError(f"descriptor {number} is not a socket") from None
    # Not for the application's own child processes.
    found.set_inheritable(False)
    return found


def _ticket_keys(number: int | None) -> tuple[bytes, ...]:
    if number is None:
        return ()
    try:
        with open(number, "rb") as file:
            text = os.pread(file.fileno(), 4096, 0)
    except OSError:
        raise ValueError(f"descriptor {number} is not a file") from None
    return tuple(bytes.fromhex(line) for line in text.decode("ascii").split())


def _listener(number: int, name: Any) -> socket.socket:
    found = _socket(number)
    actual = found.getsockname()
    expected = name if isinstance(name, str) else tuple(name)
    if actual != expected or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.close()
        raise ValueError(f"descriptor {number} does not listen on {expected}")
    return found
