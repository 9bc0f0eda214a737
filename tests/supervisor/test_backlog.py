"""The queue of a listening socket, as the kernel tells it."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.kernel import wait_until

from swell.supervisor.backlog import Backlog
from swell.telemetry.metrics import Queue


def listening(family: socket.AddressFamily, address: object) -> socket.socket:
    listener = socket.socket(family)
    listener.bind(address)  # type: ignore[arg-type]
    listener.listen(16)
    return listener


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_what_nobody_accepts_is_counted(kind: str, tmp_path: Path) -> None:
    family, address = {
        "tcp": (socket.AF_INET, ("127.0.0.1", 0)),
        "unix": (socket.AF_UNIX, str(tmp_path / "s")),
    }[kind]
    with ExitStack() as stack:
        listeners = [stack.enter_context(listening(family, address))]
        if kind == "tcp":
            listeners.append(stack.enter_context(listening(family, address)))
        backlog = Backlog(listeners, [list(range(len(listeners)))], ["here"])
        assert backlog.read() == [Queue("here", 0, 16 * len(listeners))]
        for listener in listeners:
            for _ in range(3):
                client = stack.enter_context(socket.socket(family))
                client.connect(listener.getsockname())
        wait_until(lambda: backlog.read()[0].length == 3 * len(listeners), "all are in the queues")
        listeners[0].accept()[0].close()
        assert backlog.read()[0].length == 3 * len(listeners) - 1


def test_a_socket_that_does_not_listen_has_no_queue() -> None:
    with socket.socket() as one:
        assert Backlog([one], [[0]], ["a"]).read() == []
