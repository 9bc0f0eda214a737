"""Signals that ask for the end, at every moment of a parent's life: to it alone, and to its whole group as Ctrl-C is.

Moments that pass quickly are held by a `sitecustomize`, which the server's interpreter runs before anything else: the
signal is sent by the process itself, exactly there.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import pytest
from support.server import ServerProcess
from worker.launching import launched, wait_listening

from supervisor.upgrading import serving_for_upgrade

SECONDS = 30.0
BOTH = (signal.SIGINT, signal.SIGTERM)
APPLICATION = """
import time
{imported}

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        {started}
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        await send({{"type": "lifespan.shutdown.complete"}})
"""
# What is no way to end: anything that says more than that a signal came.
NOISE = re.compile(r"ERROR|WARNING|CRITICAL|Traceback|another one takes|could not|failed|KeyboardInterrupt")

both_signals = pytest.mark.parametrize("number", BOTH)


def options(directory: Path) -> tuple[str, ...]:
    return ("--port", "0", "--runtime-dir", str(directory / "run"), "--no-access-log", "--loop", "asyncio")


def hooked(directory: Path, hook: str) -> dict[str, str]:
    """The environment of a server whose processes all run `hook` first."""
    site = directory / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import os, signal, sys\nfrom pathlib import Path\n" + hook)
    return {"PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}"}


def assert_ends_quietly(server: ServerProcess, code: int = 0) -> None:
    assert server.wait_for_end(SECONDS) == code, server.log
    assert NOISE.search(server.log) is None, server.log


@both_signals
@pytest.mark.parametrize("spawn", ["fork", "fresh"])
@pytest.mark.parametrize("moment", ["imported", "started"])
def test_a_group_that_is_told_to_end_while_it_starts(
    tmp_path: Path, moment: str, spawn: str, number: signal.Signals
) -> None:
    moments = {"imported": "", "started": "", moment: "print('here', flush=True); time.sleep(1)"}
    (tmp_path / "main.py").write_text(APPLICATION.format(**moments))
    with launched("main:app", "--spawn", spawn, *options(tmp_path), directory=tmp_path, new_group=True) as server:
        server.wait_for_log("^here", SECONDS)
        os.killpg(server.pid, number)
        assert_ends_quietly(server)
        assert [entry.name for entry in (tmp_path / "run").iterdir()] == [".lock"]


@both_signals
@pytest.mark.parametrize("module", ["swell.worker.child", "swell.supervisor.main"])
def test_a_group_that_is_told_to_end_before_a_process_of_it_has_begun(
    tmp_path: Path, module: str, number: signal.Signals
) -> None:
    """`module` is what the new interpreter is for."""
    (tmp_path / "main.py").write_text(APPLICATION.format(imported="", started=""))
    once = tmp_path / "once"
    if module == "swell.worker.child":
        hook = f"""
if {module!r} in sys.orig_argv and not os.path.exists({str(once)!r}):
    Path({str(once)!r}).touch()
    os.killpg(0, {int(number)})
"""
    else:
        hook = f"""
import swell.supervisor.main as main
made = main._Instance
def make(*arguments):
    instance = made(*arguments)
    os.killpg(0, {int(number)})
    return instance
main._Instance = make
"""
    environment = hooked(tmp_path, hook)
    words = ("main:app", "--spawn", "fresh", *options(tmp_path))
    with launched(*words, directory=tmp_path, environment=environment, new_group=True) as server:
        assert_ends_quietly(server)


def test_ctrl_c_before_there_is_a_command(tmp_path: Path) -> None:
    hook = f"""
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "swell.cli.status":
            os.kill(os.getpid(), {int(signal.SIGINT)})
sys.meta_path.insert(0, Finder())
"""
    environment = hooked(tmp_path, hook)
    with launched("main:app", *options(tmp_path), directory=tmp_path, environment=environment) as server:
        assert server.wait_for_end(SECONDS) == 130
        assert server.log == ""


@both_signals
def test_a_group_that_is_told_to_end_while_it_serves(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "main.py").write_text(APPLICATION.format(imported="", started=""))
    words = ("main:app", "--workers", "3", *options(tmp_path))
    with launched(*words, directory=tmp_path, new_group=True) as server:
        wait_listening(server)
        os.killpg(server.pid, number)
        assert_ends_quietly(server)


@both_signals
@pytest.mark.parametrize("moment", ["swell.supervisor.slots.Slots.close", "atexit"])
def test_another_signal_when_all_has_ended_changes_nothing(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    (tmp_path / "main.py").write_text(APPLICATION.format(imported="", started=""))
    kill = f"os.kill(os.getpid(), {int(number)})"
    if moment == "atexit":
        hook = f"import atexit\natexit.register(lambda: {kill})\n"
    else:
        hook = f"""
from swell.supervisor.slots import Slots
close = Slots.close
def closing(self):
    {kill}
    close(self)
Slots.close = closing
"""
    environment = hooked(tmp_path, hook)
    with launched("main:app", *options(tmp_path), directory=tmp_path, environment=environment) as server:
        wait_listening(server)
        server.process.send_signal(signal.SIGTERM)
        assert_ends_quietly(server)


UPGRADES = {
    "read by the old parent in the turn in which it hands over": """
from swell.supervisor.upgrade import Upgrade
hand_over = Upgrade._hand_over
async def handing_over(self, *arguments):
    import asyncio
    os.kill(os.getpid(), signal.SIGTERM)
    asyncio.get_running_loop()._read_from_self()
    await hand_over(self, *arguments)
Upgrade._hand_over = handing_over
""",
    "comes to the old parent when there is no way back": """
from swell.supervisor.upgrade import Takeover
begin = Takeover._begin
async def beginning(self):
    os.kill(os.getppid(), signal.SIGTERM)
    await begin(self)
Takeover._begin = beginning
""",
    "comes to both then": """
from swell.supervisor.upgrade import Takeover
begin = Takeover._begin
async def beginning(self):
    os.killpg(0, signal.SIGTERM)
    await begin(self)
Takeover._begin = beginning
""",
}


@pytest.mark.parametrize("moment", UPGRADES)
def test_the_end_at_the_turn_of_an_upgrade(tmp_path: Path, moment: str) -> None:
    """Neither is it lost, nor does it cut a request."""
    with serving_for_upgrade(tmp_path, environment=hooked(tmp_path, UPGRADES[moment])) as upgraded:
        with socket.create_connection(upgraded.server.address, SECONDS) as client:
            client.sendall(b"GET /wait/2 HTTP/1.1\r\nHost: test\r\n\r\n")
            os.kill(upgraded.parent, signal.SIGUSR2)
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
        assert_ends_quietly(upgraded.server)


def test_a_new_parent_that_is_told_to_end_before_it_serves_is_a_failed_upgrade(tmp_path: Path) -> None:
    hook = """
from swell.supervisor.upgrade import Takeover
heard = Takeover._heard
def hearing(self, message):
    self._parent.end("a signal")
    heard(self, message)
Takeover._heard = hearing
"""
    with serving_for_upgrade(tmp_path, environment=hooked(tmp_path, hook)) as upgraded:
        assert "ended with exit code 0 before it was ready" in upgraded.fail_to_upgrade()
        with socket.create_connection(upgraded.server.address, SECONDS) as client:
            client.sendall(b"GET /wait/0.1 HTTP/1.1\r\nHost: test\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
        upgraded.end()
