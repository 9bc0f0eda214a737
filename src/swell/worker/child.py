"""The entry of a process that the parent starts in a fresh interpreter: a worker, or a template that forks workers.

    python -m swell.worker.child template PARCEL CHANNEL STACKS
    python -m swell.worker.child worker PARCEL CHANNEL STACKS PROBE WORKER GENERATION SLOT

The first ones are descriptors: a file with what the parent knows (`Parcel`, pickled by the same version of Swell), the
socket to talk to it, the file for stacks, and the socket of the probe. Started by `swell.supervisor`, never by hand.
"""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import dataclass
from socket import socket

from swell.config import Config
from swell.worker import process
from swell.worker.attached import Attachment, Seat, Wiring
from swell.worker.channel import Channel
from swell.worker.main import serve
from swell.worker.probe import Probe
from swell.worker.process import ExitGuard, code_of, dump_stacks_on_request, end_process, leave_signals_to_the_parent
from swell.worker.template import run_template

__all__ = ["Parcel", "main"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What makes the child see the world as the parent does."""

    config: Config
    arguments: list[str]
    import_path: list[str]
    wiring: Wiring


def main(arguments: list[str]) -> None:
    """Does not return."""
    process.belongs_to_a_parent = True
    role, parcel_file, channel_end, stacks, *numbers = arguments[0], *map(int, arguments[1:])
    dump_stacks_on_request(stacks)
    leave_signals_to_the_parent()
    with open(parcel_file, "rb") as file:
        parcel: Parcel = pickle.load(file)  # noqa: S301 - written by our parent
    sys.argv[:] = parcel.arguments
    sys.path[:] = parcel.import_path
    # The application's own child processes are not to hold the port.
    for descriptor in (channel_end, stacks, *numbers[:1], *parcel.wiring.descriptors):
        os.set_inheritable(descriptor, False)
    channel = Channel(socket(fileno=channel_end))
    if role == "template":
        run_template(parcel.config, parcel.wiring, channel)
    probe = Probe(Channel(socket(fileno=numbers[0])))
    attachment = Attachment(channel, probe, parcel.wiring, Seat(*numbers[1:]))
    guard = ExitGuard()
    try:
        code = serve(parcel.config, attachment=attachment, guard=guard)
    except SystemExit as request:
        code = code_of(request)
    end_process(code)


if __name__ == "__main__":
    # Under its own name: the parcel refers to classes of the importable module.
    from swell.worker import child

    child.main(sys.argv[1:])
