"""Swell as the first process of a container: a new pid namespace, where it is init."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.server import ServerProcess
from support.steady import steady_load
from worker.launching import wait_listening

from supervisor.upgrading import APPLICATION, SECONDS, alive, tree, until

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def permitted() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=SECONDS, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not permitted(), reason="needs the right to make a pid namespace")

ORPHANS = """
async def orphan(name, scope, receive, send):
    import subprocess
    # A shell that starts something and does not wait for it.
    subprocess.run(["sh", "-c", f"sleep {name} & sleep {name} &"], check=True)
    await respond(send, signature(name))

ROUTES["orphan"] = orphan
"""


class Init:
    """`pid` is the first process's, as seen from outside."""

    def __init__(self, server: ServerProcess, directory: Path) -> None:
        self.server = server
        self.directory = directory
        (self.pid,) = tree(server.pid)[:1]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def ask(self, path: str) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}{path}", timeout=20) as response:
            assert response.status == 200

    def sleeping(self) -> list[int]:
        return [pid for pid in tree(self.pid) if name_of(pid) == "sleep"]

    def zombies(self) -> list[int]:
        return [pid for pid in tree(self.pid) if not alive(pid)]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@contextmanager
def contained(directory: Path) -> Iterator[Init]:
    (directory / "subject.py").write_text(APPLICATION + ORPHANS)
    command = [*UNSHARE, sys.executable, "-m", "swell", "subject:app", "--port", "0", "--no-access-log"]
    process = subprocess.Popen(
        [*command, "--runtime-dir", str(directory / "run")],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
    )
    with process:
        server = ServerProcess(process)
        try:
            server.port = wait_listening(server)
            yield Init(server, directory)
        finally:
            process.kill()  # and with it, everything in the namespace
            server.wait_for_end(SECONDS)


def test_orphans_are_reaped_and_signals_act(tmp_path: Path) -> None:
    with contained(tmp_path) as init:
        for _ in range(3):
            init.ask("/orphan/0.3")
        assert init.sleeping()
        until(lambda: not init.sleeping() and not init.zombies(), "the orphans' end")
        mark = init.server.mark()
        init.signal(signal.SIGHUP)
        init.server.wait_for_log("reloaded: generation 2", since=mark)
        init.ask("/answer/x")
        init.signal(signal.SIGTERM)
        assert init.server.wait_for_end() == 0
        assert len(re.findall("lifespan shutdown", init.server.log)) == 2
        assert "Traceback" not in init.server.log


def test_it_stays_the_first_process_through_upgrades(tmp_path: Path) -> None:
    with contained(tmp_path) as init:
        with steady_load(("127.0.0.1", init.server.port)) as load:
            for _ in range(2):
                load.wait_answers(50)
                init.ask("/orphan/2")
                mark = init.server.mark()
                init.signal(signal.SIGUSR2)
                init.server.wait_for_log("serves now", since=mark)
            load.wait_answers(50)
        load.report.check()
        # Their parents are gone, so they have come to the first process.
        until(lambda: not init.sleeping() and not init.zombies(), "the orphans' end")
        # The first process, the parent, and what belongs to that: nothing of the ones before.
        until(lambda: len(tree(init.pid)) == 3, "the end of everything old")
        mark = init.server.mark()
        init.signal(signal.SIGHUP)
        init.server.wait_for_log("reloaded: generation 2", since=mark)
        init.signal(signal.SIGTERM)
        assert init.server.wait_for_end() == 0
        assert "Traceback" not in init.server.log


def test_its_end_is_that_of_the_server_in_its_place(tmp_path: Path) -> None:
    with contained(tmp_path) as init:
        init.signal(signal.SIGUSR2)
        init.server.wait_for_log("serves now")
        until(lambda: "standin.py" in Path(f"/proc/{init.pid}/cmdline").read_text(), "standing in")
        (parent,) = (pid for pid in tree(init.pid) if Path(f"/proc/{pid}/stat").read_text().split()[3] == str(init.pid))
        os.kill(parent, signal.SIGKILL)
        assert init.server.wait_for_end() == 128 + signal.SIGKILL
