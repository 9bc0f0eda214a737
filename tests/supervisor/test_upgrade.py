"""SIGUSR2 with real processes under a real load: nothing is lost, whether the upgrade succeeds or fails."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from support.steady import steady_load
from worker.launching import launched, wait_listening

import swell
from supervisor.upgrading import APPLICATION, Upgraded, alive, serving_for_upgrade, tree, until
from swell._core import Scoreboard
from swell.supervisor.upgrade import ONE_SIGNAL

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks workers and takes in orphans")


def ask(address: tuple[str, int] | str, path: str = "/answer/x") -> str:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(20)
        client.connect(address)
        connection = http.client.HTTPConnection("localhost")
        connection.sock = client
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.read().decode()


def refuses(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_nothing_is_lost_in_three_upgrades_in_a_row(tmp_path: Path) -> None:
    with serving_for_upgrade(tmp_path, workers=2) as upgraded:
        with steady_load(upgraded.server.address) as load:
            load.wait_answers(100)
            parents = [upgraded.parent]
            for generation in (2, 3, 4):
                upgraded.write_generation(generation)
                parents.append(upgraded.upgrade())
                load.wait_generation(generation)
                load.wait_answers(100)
        load.report.check(fewest=500)
        assert len(set(parents)) == 4
        assert upgraded.server.port == int(
            upgraded.server.log.rpartition("listening on http://127.0.0.1:")[2].split()[0]
        )
        upgraded.wait_standing_in()
        # One process stands in, however many upgrades there were.
        until(lambda: not any(map(alive, parents[1:-1])), "the end of the parents in between")
        status = json.loads(upgraded.swell("status", "--json"))
        assert status["instance"]["pid"] == parents[-1]
        assert (upgraded.instance / "pid").read_text() == f"{parents[-1]}\n"
        assert sorted(file.name for file in upgraded.instance.iterdir()) == [
            "control.sock", f"metrics-{parents[-1]}", "pid", f"scoreboard-{parents[-1]}",
        ]  # fmt: skip
        upgraded.end()
        assert [file.name for file in (tmp_path / "run").iterdir()] == [".lock"]


BROKEN = {
    "does not import": ("1 / 0\n", r"pid \d+ ended with exit code 3 before it was ready"),
    "ends in lifespan": (
        APPLICATION.replace('print(f"lifespan', 'os._exit(9); print(f"'),
        r"pid \d+ ended with exit code 9 before it was ready",
    ),
    "hangs while it is loaded": (
        "import time\ntime.sleep(60)\n",
        r"pid \d+ ended with exit code 3 before it was ready",
    ),
    "ends in lifespan, but for its first worker": (
        APPLICATION.replace(
            'print(f"lifespan',
            'os.path.exists(first := __file__ + ".first") and os._exit(9); open(first, "w").close(); print(f"',
        ),
        r"pid \d+ ended with exit code 9 before it was ready",
    ),
    "hangs in lifespan": (
        APPLICATION.replace('        print(f"lifespan', '        time.sleep(60)\n        print(f"'),
        r"pid \d+ ended with exit code \d before it was ready",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_new_version_that_does_not_start_leaves_the_old_one_serving(tmp_path: Path, fault: str) -> None:
    source, why = BROKEN[fault]
    with serving_for_upgrade(tmp_path, "--timeout-worker-start", "3", workers=2) as upgraded:
        before = set(tree(upgraded.parent))
        with steady_load(upgraded.server.address) as load:
            load.wait_answers(100)
            upgraded.write(source)
            said = upgraded.fail_to_upgrade()
            assert said.startswith("the upgrade has failed, this server goes on: ")
            load.wait_answers(100)
            until(lambda: set(tree(upgraded.parent)) <= before, "nothing is left of the failed one")
            upgraded.write_generation(2)
            upgraded.upgrade()
            load.wait_generation(2)
        load.report.check(fewest=300)
        assert re.search(why, said), said
        assert set(load.report.generations()) == {1, 2}
        upgraded.end(tracebacks=int(fault == "does not import"))


def test_one_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    """A new Python may hang before a line of ours runs."""
    module = tmp_path / "site" / "sitecustomize.py"
    module.parent.mkdir()
    module.write_text("")
    environment = {"PYTHONPATH": f"{module.parent}:{os.environ.get('PYTHONPATH', '')}"}
    with serving_for_upgrade(tmp_path, "--timeout-worker-start", "2s", environment=environment) as upgraded:
        before = set(tree(upgraded.parent))
        module.write_text("import time\ntime.sleep(60)\n")
        mark, deadline = upgraded.server.mark(), time.monotonic() + 30.0
        os.kill(upgraded.parent, signal.SIGUSR2)
        said = ""
        while not said:
            # What changes here is no progress of the new one.
            for number in (signal.SIGTTIN, signal.SIGTTOU):
                os.kill(upgraded.parent, number)
                with contextlib.suppress(AssertionError):
                    said = upgraded.server.wait_for_log("ERROR: (the upgrade has failed, .*)", 0.5, since=mark)[1]
            assert time.monotonic() < deadline, upgraded.server.log
        assert "made no progress for 7 s" in said
        until(lambda: set(tree(upgraded.parent)) <= before, "nothing is left of the failed one")
        module.write_text("")
        upgraded.upgrade()
        upgraded.end()


def test_the_new_server_reads_its_options_anew(tmp_path: Path) -> None:
    """Addresses that are new are opened, ones that went away are closed, and a port that was picked is kept."""
    options = tmp_path / "swell.toml"

    tcp = ["[::1]:0"]

    def configure(workers: int, *unix: str) -> None:
        binds = ["127.0.0.1:0", *tcp, *(f"unix:{tmp_path}/{name}" for name in unix)]
        options.write_text(f"workers = {workers}\nbind = {json.dumps(binds)}\n")

    configure(1, "kept", "goes")
    with serving_for_upgrade(tmp_path, listen=(), workers=None) as upgraded:
        address = upgraded.server.address
        assert ask(f"{tmp_path}/goes")
        goes = "::1", int(upgraded.server.wait_for_log(r"listening on http://\[::1\]:(\d+)")[1])
        with steady_load(address) as load, socket.create_connection(goes, 20) as client:
            # While the old server still has something to finish, nobody waits in vain for it.
            client.sendall(b"GET /wait/3 HTTP/1.1\r\nHost: test\r\n\r\n")
            wait_in_flight(upgraded)
            tcp.clear()
            configure(3, "kept?mode=0666", "comes")
            upgraded.upgrade()
            load.wait(lambda report: len(set(report.workers())) >= 3, "answers of several new workers")
            until(lambda: refuses(goes), "the address that went away refuses connections", 2)
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
        load.report.check()
        assert ask(f"{tmp_path}/kept")
        assert ask(f"{tmp_path}/comes")
        assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o666
        with pytest.raises(FileNotFoundError):
            ask(f"{tmp_path}/goes")
        assert json.loads(upgraded.swell("status", "--json"))["instance"]["target"] == 3
        upgraded.end()
        assert not {"kept", "goes", "comes"} & {file.name for file in tmp_path.iterdir()}


def test_an_address_that_cannot_be_had_is_the_end_of_the_upgrade_only(tmp_path: Path) -> None:
    options = tmp_path / "swell.toml"
    with socket.create_server(("127.0.0.1", 0)) as other:
        options.write_text('bind = ["127.0.0.1:0"]\n')
        with serving_for_upgrade(tmp_path, listen=(), workers=None) as upgraded:
            options.write_text(f'bind = ["127.0.0.1:0", "127.0.0.1:{other.getsockname()[1]}", "unix:{tmp_path}/new"]\n')
            assert "ended with exit code 1" in upgraded.fail_to_upgrade()
            assert "it is in use" in upgraded.server.log
            assert ask(upgraded.server.address)
            options.write_text('bind = ["127.0.0.1:0"]\nno-such-option = 1\n')
            assert "ended with exit code 2" in upgraded.fail_to_upgrade()
            assert ask(upgraded.server.address)
            upgraded.end()


def test_a_fixed_port_becomes_shared_by_more_workers(tmp_path: Path) -> None:
    """Its one socket did not share the port; the new server opens more beside it, and no waiting connection is lost."""
    options = tmp_path / "swell.toml"
    options.write_text("workers = 1\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving_for_upgrade(tmp_path, listen=("--bind", f"127.0.0.1:{port}"), workers=None) as upgraded:
        with steady_load(upgraded.server.address) as load:
            for number in (3, 2):
                options.write_text(f"workers = {number}\n")
                upgraded.upgrade()
                newest = len(load.report.answers) + 100
                until(lambda: len({one.worker for one in load.report.answers[newest:]}) >= number, "the workers")  # noqa: B023
        load.report.check()
        upgraded.end()


@pytest.mark.parametrize("spawn", ["fork", "fresh"])
def test_either_way_of_starting_workers(tmp_path: Path, spawn: str) -> None:
    with serving_for_upgrade(tmp_path, "--spawn", spawn) as upgraded:
        with steady_load(upgraded.server.address) as load:
            load.wait_answers(50)
            upgraded.upgrade()
            upgraded.upgrade()
            load.wait_answers(50)
        load.report.check()
        upgraded.end()


def test_the_new_server_is_the_swell_that_is_installed_now(tmp_path: Path) -> None:
    package = tmp_path / "site" / "swell"
    shutil.copytree(Path(swell.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    with serving_for_upgrade(tmp_path, environment={"PYTHONPATH": str(package.parent)}) as upgraded:
        file = package / "__init__.py"
        file.write_text(re.sub(r'__version__ = "[^"]+"', '__version__ = "99.1"', file.read_text()))
        upgraded.upgrade()
        assert json.loads(upgraded.swell("status", "--json"))["instance"]["version"] == "99.1"
        # It need not be there any more for the first process to go on waiting.
        upgraded.wait_standing_in()
        shutil.rmtree(package)
        upgraded.end()


def test_an_upgrade_during_an_upgrade_is_refused(tmp_path: Path) -> None:
    with serving_for_upgrade(tmp_path, "--timeout-worker-start", "10") as upgraded:
        mark = upgraded.server.mark()
        upgraded.write(f"{APPLICATION}\nopen({str(tmp_path / 'hold')!r}).read()\n")
        os.mkfifo(tmp_path / "hold")
        os.kill(upgraded.parent, signal.SIGUSR2)
        upgraded.server.wait_for_log("is to take over", since=mark)
        os.kill(upgraded.parent, signal.SIGUSR2)
        upgraded.server.wait_for_log("an upgrade is under way already", since=mark)
        os.kill(upgraded.parent, signal.SIGHUP)
        upgraded.server.wait_for_log("an upgrade is under way: what takes over", since=mark)
        (tmp_path / "hold").write_text("")
        found = upgraded.server.wait_for_log(r"pid (\d+) serves now", since=mark)
        assert upgraded.server.log.count("is to take over") == 1
        upgraded.parent = int(found[1])
        upgraded.end()


def test_the_end_during_an_upgrade_ends_both(tmp_path: Path) -> None:
    with serving_for_upgrade(tmp_path) as upgraded:
        upgraded.write("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
        os.kill(upgraded.parent, signal.SIGUSR2)
        upgraded.server.wait_for_log("^importing")
        upgraded.end()
        assert "ERROR" not in upgraded.server.log


def test_a_killed_server_takes_its_unborn_successor_along(tmp_path: Path) -> None:
    with serving_for_upgrade(tmp_path) as upgraded:
        upgraded.write("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
        os.kill(upgraded.parent, signal.SIGUSR2)
        upgraded.server.wait_for_log("^importing")
        everybody = tree(upgraded.parent)
        upgraded.server.process.kill()
        until(lambda: not any(map(alive, everybody)), "the end of all")


def test_signals_reach_the_server_that_serves_now(tmp_path: Path) -> None:
    with serving_for_upgrade(tmp_path) as upgraded:
        first = upgraded.server.pid
        upgraded.upgrade()
        for stage in ("while the first finishes or has finished", "when it stands in", "for a later one"):
            if stage == "when it stands in":
                upgraded.wait_standing_in()
            elif stage == "for a later one":
                upgraded.upgrade(to=first)
            mark = upgraded.server.mark()
            os.kill(first, signal.SIGHUP)
            upgraded.server.wait_for_log("reloaded: generation", since=mark)
            os.kill(first, signal.SIGTTIN)
            upgraded.server.wait_for_log("workers 1 → 2", since=mark)
            os.kill(first, signal.SIGTTOU)
            upgraded.server.wait_for_log("workers 2 → 1", since=mark)
        upgraded.end(number=signal.SIGINT)


def test_requests_of_every_parent_are_finished_before_the_end(tmp_path: Path) -> None:
    """Three parents at once: the first two only finish, the third is told to end meanwhile."""
    with serving_for_upgrade(tmp_path) as upgraded, contextlib.ExitStack() as stack:
        clients = []
        for number in range(3):
            client = stack.enter_context(socket.create_connection(upgraded.server.address, 30))
            client.sendall(f"GET /wait/{4 - number} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            clients.append(client)
            wait_in_flight(upgraded)
            if number < 2:
                upgrade_and_wait_draining(upgraded)
        upgraded.server.process.send_signal(signal.SIGTERM)
        for client in clients:
            with client.makefile("rb") as file:
                assert file.read().startswith(b"HTTP/1.1 200 OK")
        assert upgraded.server.wait_for_end() == 0
        assert "again: ending now" not in upgraded.server.log


def wait_in_flight(upgraded: Upgraded) -> None:
    """Until a request runs in one of the workers of the present parent."""
    named = upgraded.instance / f"scoreboard-{upgraded.parent}"
    board = Scoreboard(str(named if named.exists() else upgraded.instance / "scoreboard"))
    until(lambda: any(board.read(slot)["in_flight"] for slot in range(board.slots)), "a request runs")


def upgrade_and_wait_draining(upgraded: Upgraded) -> None:
    """An upgrade, and until nobody of the old ones accepts connections any more."""
    boards = [Scoreboard(str(file)) for file in upgraded.instance.glob("scoreboard*")]
    upgraded.upgrade()
    for board in boards:
        until(lambda: all(board.read(slot)["state"] != "ready" for slot in range(board.slots)), "they drain")  # noqa: B023


def test_a_second_signal_means_now_for_every_parent(tmp_path: Path) -> None:
    with serving_for_upgrade(tmp_path) as upgraded, contextlib.ExitStack() as stack:
        for number in range(2):
            client = stack.enter_context(socket.create_connection(upgraded.server.address, 30))
            client.sendall(b"GET /wait/50 HTTP/1.1\r\nHost: test\r\n\r\n")
            wait_in_flight(upgraded)
            if number == 0:
                upgrade_and_wait_draining(upgraded)
        mark = upgraded.server.mark()
        os.kill(upgraded.server.pid, signal.SIGTERM)
        upgraded.server.wait_for_log("SIGTERM: finishing", since=mark)
        # Within a moment, the same signal twice is one.
        later = time.monotonic() + 2 * ONE_SIGNAL
        until(lambda: time.monotonic() > later, "the next one is another signal")
        os.kill(upgraded.server.pid, signal.SIGTERM)
        assert upgraded.server.wait_for_end() == 0
        assert upgraded.server.log.count("SIGTERM again: ending now") >= 2


def test_the_exit_code_is_that_of_the_one_who_served_last(tmp_path: Path) -> None:
    with serving_for_upgrade(tmp_path) as upgraded:
        upgraded.upgrade()
        upgraded.wait_standing_in()
        os.kill(upgraded.parent, signal.SIGKILL)
        assert upgraded.server.wait_for_end() == 128 + signal.SIGKILL


def test_without_the_process_that_the_outside_knows_the_server_ends(tmp_path: Path) -> None:
    with serving_for_upgrade(tmp_path) as upgraded:
        upgraded.upgrade()
        upgraded.upgrade()
        upgraded.wait_standing_in()
        everybody = [upgraded.parent, *tree(upgraded.parent)]
        upgraded.server.process.kill()
        until(lambda: not any(map(alive, everybody)), "the end of all")
        upgraded.server.wait_for_log("the process that stood in for this one has gone: finishing")


def test_a_link_to_another_version_is_followed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "subject.py").write_text(APPLICATION.replace("GENERATION = 1", f"GENERATION = '{name}'"))
    current = tmp_path / "current"
    current.symlink_to("one")
    command = ("-m", "swell", "subject:app", "--port", "0", "--runtime-dir", str(tmp_path / "run"))
    with launched(command=command, directory=current, environment={"PWD": str(current)}, new_group=True) as server:
        address = ("127.0.0.1", wait_listening(server))
        assert ask(address).endswith(" one")
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(current)
        os.kill(server.pid, signal.SIGUSR2)
        server.wait_for_log("serves now")
        until(lambda: ask(address).endswith(" two"), "the other version answers")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait_for_end() == 0


def test_connections_that_wait_in_the_queue_are_answered_by_the_new_server(tmp_path: Path) -> None:
    """Nobody accepts at the moment of the upgrade: the only worker is stopped."""
    with serving_for_upgrade(tmp_path) as upgraded, contextlib.ExitStack() as stack:
        worker = upgraded.server.worker
        os.kill(worker, signal.SIGSTOP)
        clients = []
        for _ in range(20):
            client = stack.enter_context(socket.create_connection(upgraded.server.address, 20))
            client.sendall(b"GET /answer/x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            clients.append(client)
        upgraded.upgrade()
        for client in clients:
            with client.makefile("rb") as file:
                assert file.read().startswith(b"HTTP/1.1 200 OK")
        os.kill(worker, signal.SIGCONT)
        upgraded.end()


def test_one_that_fails_at_the_last_moment_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """The new one has been told to begin, and cannot say in the instance's directory that it is there."""
    path = str(tmp_path / "socket")
    with serving_for_upgrade(tmp_path, "--timeout-worker-start", "3", listen=("--uds", path)) as upgraded:
        before = sorted(upgraded.instance.iterdir())
        (upgraded.instance / ".pid").mkdir()
        said = upgraded.fail_to_upgrade()
        (upgraded.instance / ".pid").rmdir()
        assert re.search(r"pid \d+ ended with exit code 1 before it was ready", said)
        assert sorted(file for file in upgraded.instance.iterdir() if file.name not in ("counted", "shown")) == before
        assert ask(path).endswith(" 1")
        assert json.loads(upgraded.swell("status", "--json"))["instance"]["pid"] == upgraded.parent
        assert (upgraded.instance / "pid").read_text() == f"{upgraded.parent}\n"
        upgraded.upgrade()
        upgraded.end()
