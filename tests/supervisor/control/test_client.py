"""The client finds the instance that is meant, believes no stranger's socket, and says in one line what is wrong."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.instance import SECONDS, process, running

from swell.supervisor.control import client as module
from swell.supervisor.control.client import Client, ControlError, Found, find
from swell.supervisor.instance import InstanceDirectory

_SETRESUID = {"x86_64": 117, "aarch64": 147}.get(os.uname().machine, -1)


def error(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ControlError) as raised:
        call(*arguments, **options)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_the_only_instance_is_found_by_itself(tmp_path: Path) -> None:
    assert error(find, runtime_dir=str(tmp_path)) == (
        f"no instance is running (looked in {tmp_path}): start one with `swell serve MODULE:ATTRIBUTE`,"
        " or say where it is with --runtime-dir or --control"
    )
    with running(tmp_path) as one:
        found = find(runtime_dir=str(tmp_path))
        assert found == Found("main-8000", one.directory.control)
        assert (
            find(environ={"XDG_RUNTIME_DIR": "/nowhere", "RUNTIME_DIRECTORY": str(tmp_path)}, name="main-8000") == found
        )
        assert Client(found).status() == one.instance.status()
    assert "no instance is running" in error(find, runtime_dir=str(tmp_path))


def test_of_several_one_has_to_be_named(tmp_path: Path) -> None:
    with running(tmp_path), running(tmp_path) as second, running(tmp_path, "shop"):
        assert error(find, runtime_dir=str(tmp_path)) == (
            "3 instances are running, say which one: --name with one of main-8000, main-8000-2, shop"
        )
        assert find("main-8000-2", runtime_dir=str(tmp_path)).path == second.directory.control
        assert error(find, "blog", runtime_dir=str(tmp_path), why="SWELL_NAME") == (
            "no instance named blog (SWELL_NAME) is running; running: main-8000, main-8000-2, shop"
        )


def test_one_name_in_two_places(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/a:{tmp_path}/b"}
    with running(tmp_path / "a") as one, running(tmp_path / "b") as other:
        assert error(find, "main-8000", environ=environ).endswith(
            f"say --control with one of {one.directory.control}, {other.directory.control}"
        )


def test_a_stale_socket_is_nobody(tmp_path: Path) -> None:
    with process(tmp_path, "dead") as child:
        child.kill()
        child.wait(SECONDS)
    assert (tmp_path / "dead" / "control.sock").exists()
    assert "no instance is running" in error(find, runtime_dir=str(tmp_path))
    with running(tmp_path) as one:
        assert find(runtime_dir=str(tmp_path)).name == one.directory.name


def test_an_instance_without_a_socket_is_named(tmp_path: Path) -> None:
    with closing(InstanceDirectory.claim(tmp_path, "main-8000", control=None)):
        for name in ("", "main-8000"):
            assert "--control off and takes no commands: use signals" in error(find, name, runtime_dir=str(tmp_path))


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere"
    with running(tmp_path, control=str(path)) as one:
        assert Client(find(control=str(path))).status()["instance"]["name"] == one.directory.name
    client = Client(find(control=str(path)))
    assert error(client.status) == f"no instance is running behind {path}: there is no such socket"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
        assert "nobody listens" in error(client.status)
    assert "AF_UNIX path too long" in error(Client(find(control=str(tmp_path / ("x" * 110)))).status)


@pytest.mark.skipif(os.geteuid() != 0 or _SETRESUID < 0, reason="only root can become somebody else")
def test_a_socket_of_another_user_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "planted"
    os.chmod(tmp_path, 0o777)
    ready = threading.Event()

    def listen(listener: socket.socket) -> None:
        # A listening socket carries the identity that called listen(): here a thread alone takes on another one.
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.syscall(_SETRESUID, -1, 65534, -1) == 0
        listener.listen()
        ready.set()

    with socket.socket(socket.AF_UNIX) as planted:
        planted.bind(str(path))
        thread = threading.Thread(target=listen, args=(planted,))
        thread.start()
        thread.join(SECONDS)
        assert ready.is_set()
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert error(Client(Found("", path)).status) == (
            f"{path} belongs to user 65534, not to you: run the command as that user"
        )


def test_what_is_no_instance_is_told(tmp_path: Path) -> None:
    for reply in (b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"HTTP/1.1 200 OK\r\n\r\n[]"):
        path = tmp_path / f"other{len(reply)}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()

            def answer(listener: socket.socket, reply: bytes) -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(reply)

            thread = threading.Thread(target=answer, args=(listener, reply))
            thread.start()
            assert error(Client(Found("", path)).status) == f"{path} is not the control socket of a Swell instance"
            thread.join(SECONDS)


def test_an_instance_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.5)
    with process(tmp_path, "main", "hangs"):
        client = Client(find(runtime_dir=str(tmp_path)))
        client.status()
        for progress in (None, lambda status: None):
            assert "main does not answer within 0.2 seconds" in error(client.command, "/v1/reload", {}, progress)


def test_an_instance_that_dies_in_the_middle_of_a_command(tmp_path: Path) -> None:
    for progress in (None, lambda status: None):
        with process(tmp_path, "main", "dies"):
            client = Client(find(runtime_dir=str(tmp_path)))
            client.status()
            assert (
                error(client.command, "/v1/reload", {}, progress) == "main ended before it answered; its log says why"
            )


def test_progress_is_told_until_the_answer(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        one.instance.hold = hold = asyncio.Event()
        seen: list[dict[str, Any]] = []

        def progress(status: dict[str, Any]) -> None:
            seen.append(status)
            if len(seen) == 2:
                one.call(hold.set)

        answer = Client(find(runtime_dir=str(tmp_path))).command("/v1/reload", {}, progress)
        assert answer == {"text": "reload: done"}
        assert len(seen) >= 2
        assert seen[0]["instance"]["name"] == "main-8000"


def test_the_end_is_waited_for_in_the_process(tmp_path: Path) -> None:
    with process(tmp_path, "main") as child:
        client = Client(find(runtime_dir=str(tmp_path)))
        with client.watch_end() as ending:
            client.command("/v1/stop", {})
            ending.wait(lambda status: None)
        assert child.wait(SECONDS) == 0
    assert not (tmp_path / "main").exists()


def test_an_end_whose_process_stays_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXIT_SECONDS", 0.2)
    with running(tmp_path) as one:
        one.instance.instance["pid"] = os.getpid()
        client = Client(find(runtime_dir=str(tmp_path)))
        with client.watch_end() as ending:
            client.command("/v1/stop", {})
            assert error(ending.wait, lambda status: None) == (
                "main-8000 has closed its control socket, but its process still runs"
            )


def test_the_end_is_not_missed_when_a_successor_starts_at_once(tmp_path: Path) -> None:
    with running(tmp_path, "main") as one:
        one.instance.instance["pid"] = 7_777_777  # of another namespace
        client = Client(find(runtime_dir=str(tmp_path)))
        ending = client.watch_end()
        client.command("/v1/stop", {})
        one.close()
        with running(tmp_path, "main"), ending:
            ending.wait(lambda status: pytest.fail("this is the successor"))
