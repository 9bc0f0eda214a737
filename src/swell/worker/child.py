"""A worker in a process of its own: `python -m swell.worker.child PARCEL LIFELINE FD...`, descriptors all of them.

The parcel is a file with what the parent knows (`Parcel`, pickled by the same version of Swell), the lifeline tells
when the parent ends, the others are listening sockets. Started by `swell.supervisor`, never by hand.
"""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import dataclass
from socket import socket

from swell.config import Config
from swell.worker.main import serve

__all__ = ["Parcel", "main"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What makes the child see the world as the parent does."""

    config: Config
    arguments: list[str]
    import_path: list[str]


def main(arguments: list[str]) -> int:
    """Returns the exit code of the server."""
    numbers = [int(argument) for argument in arguments]
    with open(numbers[0], "rb") as file:
        parcel: Parcel = pickle.load(file)  # noqa: S301 - written by our parent
    sys.argv[:] = parcel.arguments
    sys.path[:] = parcel.import_path
    lifeline, *listeners = (socket(fileno=number) for number in numbers[1:])
    for each in (lifeline, *listeners):
        os.set_inheritable(each.fileno(), False)
    lifeline.setblocking(False)
    return serve(parcel.config, sockets=listeners, lifeline=lifeline)


if __name__ == "__main__":
    # Under its own name: the parcel refers to classes of the importable module.
    from swell.worker import child

    sys.exit(child.main(sys.argv[1:]))
