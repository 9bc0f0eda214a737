"""What one parent passes on to the next, and what the next makes of the sockets."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from swell import Config
from swell.errors import StartupError
from swell.supervisor.handover import VARIABLE, Handover
from swell.supervisor.inherited import Group, InheritingListeners
from swell.supervisor.instance import InstanceDirectory
from swell.worker.sockets import Listeners


@pytest.fixture
def talk() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def described(listeners: Listeners, directory: InstanceDirectory, talk: socket.socket) -> dict[str, Any]:
    """What is passed on, with the descriptors of another process: duplicates here."""
    text, descriptors = Handover.describe(listeners, directory, talk, None, 3)
    said: dict[str, Any] = json.loads(text)
    assert said["parent"] == os.getpid()
    twins = {number: os.dup(number) for number in descriptors}
    said["parent"] = os.getppid()  # the test is both
    for group in said["groups"]:
        group["descriptors"] = [twins[number] for number in group["descriptors"]]
    said["talk"] = twins[said["talk"]]
    said["control"] = None if said["control"] is None else twins[said["control"]]
    return said


def close_all(handover: Handover) -> None:
    for group in handover.groups:
        for one in group.sockets:
            one.close()
    for other in (handover.talk, handover.control, handover.reports):
        if other is not None:
            other.close()


def test_it_arrives_as_it_was_sent(tmp_path: Path, talk: tuple[socket.socket, socket.socket]) -> None:
    config = Config.make("x:y", bind=["127.0.0.1:0", f"unix:{tmp_path}/sock", "[::1]:0"])
    with Listeners(config, shards=2) as listeners, closing(InstanceDirectory.claim(tmp_path, "x")) as directory:
        environ = {VARIABLE: json.dumps(described(listeners, directory, talk[0]))}
        taken = Handover.take(environ)
        assert taken is not None
        assert environ == {}, "nobody else is to take it for theirs"
        assert [group.origin for group in taken.groups] == ["127.0.0.1:0", f"unix:{tmp_path}/sock", "[::1]:0"]
        assert [len(group.sockets) for group in taken.groups] == [2, 1, 2]
        assert [group.inode is None for group in taken.groups] == [True, False, True]
        for group, first in zip(taken.groups, (0, 2, 3), strict=True):
            assert group.sockets[0].getsockname() == listeners.sockets[first].getsockname()
            assert not group.sockets[0].get_inheritable()
        assert (taken.directory, taken.target) == (directory.path, 3)
        assert taken.control is not None
        assert taken.control.getsockname() == str(directory.control)
        close_all(taken)


def test_what_is_meant_for_another_process_is_not_taken() -> None:
    environ = {VARIABLE: json.dumps({"parent": 1 if os.getppid() != 1 else 2})}
    assert Handover.take(environ) is None
    assert environ == {}
    assert Handover.take({}) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "its format is 2, and this version of Swell reads 1"),
        ({"talk": None}, "None is no descriptor"),
        ({"target": "many"}, "invalid literal"),
        ({"directory": "/no/such/place"}, "there is no directory /no/such/place"),
        (
            {"groups": [{"origin": "x", "name": "y", "descriptors": ["FILE"], "inode": None}]},
            r"descriptor \d+ is not a",
        ),
        ({"groups": [{"origin": "x", "name": "y", "descriptors": ["TALK"], "inode": None}]}, "does not listen on y"),
        ({"groups": 7}, "not iterable"),
    ],
)
def test_what_is_not_what_it_says_is_refused(
    tmp_path: Path, talk: tuple[socket.socket, socket.socket], change: dict[str, Any], reason: str
) -> None:
    with (
        Listeners(Config.make("x:y", port=0)) as listeners,
        closing(InstanceDirectory.claim(tmp_path, "x")) as directory,
        (tmp_path / "file").open("w") as file,
    ):
        before = len(os.listdir("/proc/self/fd"))
        said = described(listeners, directory, talk[0])
        twins = [said["talk"], said["control"], *(n for group in said["groups"] for n in group["descriptors"])]
        numbers = {"FILE": os.dup(file.fileno()), "TALK": os.dup(talk[1].fileno())}
        text = json.dumps({**said, **change})
        for name, number in numbers.items():
            text = text.replace(f'"{name}"', str(number))
        with pytest.raises(StartupError, match=f"cannot take over from the running server: .*({reason}).*; restart it"):
            Handover.take({VARIABLE: text})
        for number in (*twins, *numbers.values()):
            try:
                os.close(number)
            except OSError:
                continue  # it had been opened as a socket, and was closed
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_field_that_is_missing_is_named() -> None:
    environ = {VARIABLE: json.dumps({"parent": os.getppid(), "format": 1})}
    with pytest.raises(StartupError, match="'groups' is missing"):
        Handover.take(environ)


def kept(listeners: Listeners) -> list[Group]:
    """Its groups, as another process gets them."""
    groups = []
    for origin, indexes in zip(listeners.origins, listeners.groups, strict=True):
        sockets = [socket.socket(fileno=os.dup(listeners.sockets[index].fileno())) for index in indexes]
        name = sockets[0].getsockname()
        groups.append(Group(origin, sockets, listeners.inodes.get(name) if isinstance(name, str) else None))
    return groups


def can_connect(address: Any) -> bool:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        try:
            client.connect(address)
        except OSError:
            return False
        return True


def test_nothing_changes_outside_before_the_beginning_and_nothing_after_a_failure(tmp_path: Path) -> None:
    first = Config.make("x:y", bind=["127.0.0.1:0", f"unix:{tmp_path}/kept", f"unix:{tmp_path}/goes"])
    second = Config.make("x:y", bind=["127.0.0.1:0", f"unix:{tmp_path}/kept?mode=0666", f"unix:{tmp_path}/comes"])
    with Listeners(first) as old:
        with InheritingListeners(second, kept(old), shards=4) as new:
            assert [len(group) for group in new.groups] == [4, 1, 1]
            assert new.addresses[:2] == old.addresses[:2]
            assert not can_connect(f"{tmp_path}/comes")
            assert can_connect(f"{tmp_path}/goes")
            assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600
        # It has ended without a beginning.
        assert sorted(file.name for file in tmp_path.iterdir()) == ["goes", "kept"]
        assert can_connect(f"{tmp_path}/kept")
        assert can_connect(old.sockets[0].getsockname())
        with InheritingListeners(second, kept(old), shards=4) as new:
            closed = new.begin()
            assert len(closed) == 1
            old.release()
            assert can_connect(f"{tmp_path}/comes")
            assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o666
            assert sorted(file.name for file in tmp_path.iterdir()) == ["comes", "kept"]
        assert list(tmp_path.iterdir()) == []


def test_the_same_address_written_in_another_way_is_the_same(tmp_path: Path) -> None:
    with Listeners(Config.make("x:y", host="127.0.0.1", port=0)) as old:
        port = old.sockets[0].getsockname()[1]
        with InheritingListeners(Config.make("x:y", bind=[f"127.0.0.1:{port}"]), kept(old), shards=1) as new:
            assert new.sockets[0].getsockname() == ("127.0.0.1", port)
            assert new.begin() == []
        everywhere = Config.make("x:y", bind=[f"0.0.0.0:{port}"])
        with pytest.raises(StartupError, match="it is in use"):
            InheritingListeners(everywhere, kept(old), shards=1)


def test_sockets_of_systemd_stay_until_an_address_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        group = Group("systemd", [socket.socket(fileno=os.dup(passed.fileno()))])
        with InheritingListeners(Config.make("x:y"), [group], shards=4) as new:
            assert [one.getsockname() for one in new.sockets] == [passed.getsockname()]
            assert new.origins == ["systemd"]
        group = Group("systemd", [socket.socket(fileno=os.dup(passed.fileno()))])
        with InheritingListeners(Config.make("x:y", bind=["127.0.0.1:0"]), [group], shards=1) as new:
            assert new.sockets[0].getsockname() != passed.getsockname()
            assert new.begin() == [], "it is not ours to shut down"
        assert can_connect(passed.getsockname())


def test_a_descriptor_that_was_given_by_number_goes_by_that_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        group = Group("fd:7", [socket.socket(fileno=os.dup(passed.fileno()))])
        with InheritingListeners(Config.make("x:y", fd=7), [group], shards=4) as new:
            assert [one.getsockname() for one in new.sockets] == [passed.getsockname()]
        with pytest.raises(StartupError, match="cannot listen on fd:8: the running server has no such socket"):
            InheritingListeners(Config.make("x:y", fd=8), [], shards=1)
