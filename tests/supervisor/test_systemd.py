"""What systemd is told, by its own rules: messages on a real socket, whose sender the kernel names."""

from __future__ import annotations

import asyncio
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.steady import steady_load
from worker.launching import launched
from worker.test_addresses import LAUNCHER, activated

from supervisor.upgrading import APPLICATION, alive, serving_for_upgrade, until
from swell.supervisor.parent import Parent
from swell.supervisor.systemd import Notifier, Reporter
from swell.supervisor.workers import State

SECONDS = 20.0


class Manager:
    """The receiving end. `main` is the process whose messages count, as with `NotifyAccess=main`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.main = 0
        self.said: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self._socket.settimeout(SECONDS)

    def receive(self) -> dict[str, str]:
        """The next message that counts."""
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
            (sender, _, _) = struct.unpack("3i", ancillary[0][2])
            if self.main in (0, sender):
                break
        fields = dict(line.split("=", 1) for line in data.decode().splitlines())
        self.main = int(fields.get("MAINPID", sender))
        self.said.append(fields)
        return fields

    def wait(self, field: str) -> dict[str, str]:
        """The next message that has this field."""
        while field not in (found := self.receive()):
            pass
        return found

    def nothing_waits(self) -> bool:
        return not select.select([self._socket], [], [], 0)[0]

    def nothing_within(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(SECONDS)
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = f"@swell-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    manager = Manager(name)
    yield manager
    manager.close()


def test_start_reload_and_end(tmp_path: Path, manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.name}
    with serving_for_upgrade(tmp_path, environment=environment, workers=2) as upgraded:
        ready = manager.wait("READY")
        assert ready["READY"] == "1"
        assert "worker" in ready["STATUS"]
        until(lambda: "2 workers ready" in manager.wait("STATUS")["STATUS"], "both workers")
        assert manager.main == upgraded.server.pid

        before = time.monotonic_ns() // 1000
        os.kill(upgraded.server.pid, signal.SIGHUP)
        assert before <= int(manager.wait("RELOADING")["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert manager.wait("READY")["STATUS"].startswith("serving: ")

        upgraded.write("1 / 0\n")
        os.kill(upgraded.server.pid, signal.SIGHUP)
        manager.wait("RELOADING")
        assert manager.wait("READY")["STATUS"] == "serving: 2 workers ready", "the old code serves on"

        upgraded.end(tracebacks=1)
        assert manager.wait("STOPPING")["STOPPING"] == "1"


def test_an_upgrade_makes_the_new_server_the_main_process(tmp_path: Path, manager: Manager) -> None:
    with serving_for_upgrade(tmp_path, environment={"NOTIFY_SOCKET": manager.name}) as upgraded:
        manager.wait("READY")
        first = upgraded.server.pid

        upgraded.write("1 / 0\n")
        upgraded.fail_to_upgrade()
        manager.wait("RELOADING")
        manager.wait("READY")
        assert manager.main == first

        upgraded.write(APPLICATION)
        second = upgraded.upgrade()
        manager.wait("RELOADING")
        assert manager.wait("MAINPID")["MAINPID"] == str(second)
        manager.wait("READY")
        assert manager.main == second
        # Nobody waits for the first process: it ends with its last request.
        assert upgraded.server.process.wait(SECONDS) == 0
        try:
            third = upgraded.upgrade()
            manager.wait("MAINPID")
            manager.wait("READY")
            assert manager.main == third
            until(lambda: not alive(second), "the end of the second")
        finally:
            os.kill(upgraded.parent, signal.SIGTERM)
        manager.wait("STOPPING")
        until(lambda: not alive(third), "the end of the third")


def test_signs_of_life_come_twice_in_the_time_allowed(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    try:
        environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "600000"}
        with serving_for_upgrade(tmp_path, environment=environment) as upgraded:
            manager.wait("READY")
            times = []
            for _ in range(5):
                manager.wait("WATCHDOG")
                times.append(time.monotonic())
            assert (times[-1] - times[0]) / 4 < 0.5
            upgraded.upgrade()
            manager.wait("MAINPID")
            manager.wait("WATCHDOG")
            assert manager.main == upgraded.parent
            # A parent whose loop stands still gives none.
            os.kill(upgraded.parent, signal.SIGSTOP)
            try:
                until(lambda: manager.nothing_within(0.7), "silence")
            finally:
                os.kill(upgraded.parent, signal.SIGCONT)
            manager.wait("WATCHDOG")
            os.kill(upgraded.parent, signal.SIGTERM)
            until(lambda: not alive(upgraded.parent), "the end")
    finally:
        manager.close()


def test_variables_for_somebody_else_are_none(tmp_path: Path) -> None:
    assert not Notifier({}).enabled
    assert not Notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).enabled
    assert Notifier({"WATCHDOG_USEC": "500000"}).watchdog == 0.5
    assert Notifier({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}).watchdog == 0.5
    assert Notifier({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}).watchdog is None
    for nonsense in ("", "0", "-1", "soon"):
        assert Notifier({"WATCHDOG_USEC": nonsense}).watchdog is None
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).send(READY=1)


class FakeParent:
    """As much of a parent as a reporter looks at."""

    def __init__(self, state: str, *workers: State, stuck: bool = False) -> None:
        self.state = state
        self.target = 2
        self.workers = {n: SimpleNamespace(state=one, seat=SimpleNamespace(slot=n)) for n, one in enumerate(workers)}
        self.slots = SimpleNamespace(board=SimpleNamespace(read=lambda slot: {"state": "stuck" if stuck else "ready"}))
        self.on_state = lambda: None

    @property
    def ending(self) -> bool:
        return self.state in ("draining", "stopping")

    @property
    def ready(self) -> int:
        return sum(one.state is State.READY for one in self.workers.values())

    async def wait_changed(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("parent", "well"),
    [
        (FakeParent("running", State.READY), True),
        (FakeParent("running", State.STARTING), True),
        (FakeParent("running", State.DRAINING), False),
        (FakeParent("running", State.READY, stuck=True), False),
        (FakeParent("running"), False),
        (FakeParent("sleeping"), True),
        (FakeParent("draining", State.DRAINING), True),
    ],
)
def test_a_sign_of_life_means_that_somebody_can_serve(tmp_path: Path, parent: FakeParent, well: bool) -> None:
    manager = Manager(str(tmp_path / "notify"))

    async def report() -> bool:
        reporter = Reporter(
            Notifier({"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "100000"}), cast("Parent", cast("Any", parent))
        )
        reporter.start()
        await asyncio.sleep(0)  # the tasks begin
        reporter.stop()
        return True

    try:
        assert asyncio.run(report())
        fields: set[str] = set()
        while "STATUS" not in fields or not manager.nothing_waits():
            fields |= set(manager.receive())
        assert ("WATCHDOG" in fields) is well
    finally:
        manager.close()


def test_the_status_tells_what_is_missing() -> None:
    def status(parent: FakeParent) -> str:
        return Reporter(Notifier({}), cast("Parent", cast("Any", parent))).status()

    assert status(FakeParent("running", State.READY, State.READY)) == "serving: 2 workers ready"
    assert status(FakeParent("running", State.READY, State.STARTING)) == (
        "serving: 1 worker ready of 2 wanted, 1 starting or finishing"
    )
    assert status(FakeParent("sleeping")) == "sleeping: 0 workers ready of 2 wanted"


UNITS = Path(__file__).parents[2] / "examples" / "systemd"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_example_is_a_unit_without_a_mistake(tmp_path: Path) -> None:
    service = (UNITS / "swell.service").read_text()
    command = re.findall(r"^ExecStart=(\S+) serve", service, re.M)[0]
    (tmp_path / "swell").write_text("#!/bin/sh\n")
    (tmp_path / "swell").chmod(0o755)
    text = service.replace(command, str(tmp_path / "swell")).replace("=/srv/app", f"={tmp_path}")
    (tmp_path / "swell.service").write_text(text)
    shutil.copy(UNITS / "swell.socket", tmp_path)
    units = [tmp_path / "swell.service", tmp_path / "swell.socket"]
    checked = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_its_options_are_options(tmp_path: Path) -> None:
    service = (UNITS / "swell.service").read_text()
    words = re.findall(r"^ExecStart=\S+ serve (.*)$", service, re.M)[0].split()
    variables = dict(pair.split("=", 1) for pair in re.findall(r"^Environment=(.*)$", service, re.M)[0].split())
    done = subprocess.run(
        [sys.executable, "-m", "swell", "config", *words],
        capture_output=True, text=True, timeout=SECONDS, env={**os.environ, **variables}, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_sockets_that_systemd_has_passed_go_on_to_the_new_server(tmp_path: Path) -> None:
    (tmp_path / "subject.py").write_text(APPLICATION)
    words = ("0", "subject:app", "--runtime-dir", str(tmp_path / "run"), "--no-access-log")
    with launched(*words, command=("-c", LAUNCHER), directory=tmp_path, new_group=True) as server:
        port = activated(server)[0]
        server.wait_for_log("is ready after")
        with steady_load(("127.0.0.1", port)) as load:
            for _ in range(2):
                load.wait_answers(50)
                mark = server.mark()
                server.process.send_signal(signal.SIGUSR2)
                server.wait_for_log("serves now", since=mark)
            load.wait_answers(50)
        load.report.check()
        server.process.send_signal(signal.SIGTERM)
        assert server.wait_for_end() == 0
