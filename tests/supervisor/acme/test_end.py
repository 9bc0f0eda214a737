"""The end of a server does not wait for an authority, and leaves nobody behind who talks to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from support.pebble import Pebble, free_port
from support.server import START_SECONDS, ServerProcess

from supervisor.acme.site import site

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")


def errands(pid: int) -> list[int]:
    """The processes of orders among the children of this one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"swell.supervisor.acme.client" in command(int(child))]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_errand(server: ServerProcess) -> int:
    deadline = time.monotonic() + START_SECONDS
    while not (found := errands(server.pid)):
        assert time.monotonic() < deadline, server.log
        time.sleep(0.02)
    return found[0]


def test_a_server_ends_while_an_authority_hangs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        hanging = Pebble(mute.getsockname()[1], 0, free_port(), free_port(), tmp_path / "none")
        with site(hanging, tmp_path, ("eight.test",)) as server:
            child = wait_errand(server)
            mute.settimeout(START_SECONDS)
            connection, _ = mute.accept()
            with connection:
                server.process.send_signal(signal.SIGTERM)
                assert server.wait_for_end() == 0
            assert b"acme" not in command(child)
    # That it was cut off is no failure that the next start would have to be patient about.
    (record,) = tmp_path.rglob("eight.test.json")
    assert json.loads(record.read_text())["failures"] == 0


def test_an_order_whose_process_dies_has_failed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        hanging = Pebble(mute.getsockname()[1], 0, free_port(), free_port(), tmp_path / "none")
        with site(hanging, tmp_path, ("nine.test",)) as server:
            child = wait_errand(server)
            os.kill(child, signal.SIGKILL)
            server.wait_for_log(r"ERROR.*ACME: no certificate for nine\.test: the process .* has ended: SIGKILL")
            assert server.process.poll() is None
