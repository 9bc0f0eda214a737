"""The process itself: socket files, signals, what is inherited. Classes 39 and 58."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import pytest
from support.raw import Connection
from support.server import serving

from attacks.target import SERVED, exchange, target


def test_39_unix_socket_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving("hostile:app", directory=SERVED, listen=("--bind", f"unix:{path}")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            response = exchange(Connection(sock), b"GET /odd/body-bytes HTTP/1.1\r\nHost: a.example\r\n\r\n")
            assert response.body == b"12345"


def test_39_a_link_at_the_socket_path_is_not_followed(tmp_path: Path) -> None:
    """Neither removed nor written through: the server refuses to start."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "s"
    path.symlink_to(victim)
    with (
        pytest.raises(AssertionError, match="cannot listen"),
        serving("hostile:app", directory=SERVED, listen=("--bind", f"unix:{path}")),
    ):
        raise RuntimeError("it must not start")
    assert path.is_symlink()
    assert victim.read_text() == "precious"


def test_58_descriptors_are_not_inherited_by_children() -> None:
    """What the application starts must not hold connections or listeners open."""
    with target() as hostile, hostile.connect() as connection:
        assert exchange(connection, b"GET /ignore HTTP/1.1\r\nHost: a.example\r\n\r\n").status == 200
        for name in os.listdir(f"/proc/{hostile.worker}/fd"):
            link = os.readlink(f"/proc/{hostile.worker}/fd/{name}")
            if int(name) <= 2:
                continue
            flags = Path(f"/proc/{hostile.worker}/fdinfo/{name}").read_text()
            octal = next(line.split()[1] for line in flags.splitlines() if line.startswith("flags"))
            assert int(octal, 8) & os.O_CLOEXEC, f"{name} -> {link}"


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGWINCH])
def test_58_other_signals_do_no_harm_or_end_it_cleanly(number: signal.Signals) -> None:
    """SIGPIPE comes from any closed peer, SIGHUP reloads; the others mean what they always do, and no harm."""
    with target() as hostile:
        os.kill(hostile.server.pid, number)
        if number == signal.SIGUSR1:
            hostile.server.expected_code = -number
            assert hostile.server.wait_for_end() == -number
        else:
            for _ in range(3):
                assert hostile.is_serving()


def test_58_a_storm_of_signals_ends_it_once() -> None:
    with target() as hostile:
        for _ in range(50):
            try:
                os.kill(hostile.server.pid, signal.SIGTERM)
            except ProcessLookupError:
                break
        assert hostile.server.wait_for_end() == 0
