"""Where instances keep their files: which directory, whose it may be, and which names are free."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from swell.config import Config
from swell.errors import StartupError
from swell.supervisor import runtime
from swell.supervisor.instance import InstanceDirectory
from swell.supervisor.runtime import answers, default_name, instance_names

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "run"
    place.mkdir(mode=0o700)
    return place


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the fallback for ordinary users would be."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)  # /run is nobody's
    return tmp_path / f"swell-{os.geteuid()}"


@pytest.fixture
def dead(root: Path) -> Path:
    """What an instance leaves behind that was killed."""
    code = (
        "import os, sys; from pathlib import Path; from swell.supervisor.instance import InstanceDirectory;"
        "one = InstanceDirectory.claim(Path(sys.argv[1]), 'main-8000'); one.scoreboard.touch(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, root], timeout=30).returncode == 9
    path = root / "main-8000"
    assert sorted(os.listdir(path)) == ["control.sock", "pid", "scoreboard"]
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_the_runtime_directory_is_the_first_that_is_named(tmp_path: Path, private: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/unit:{tmp_path}/other", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert runtime.runtime_directory(f"{tmp_path}/option", environ) == tmp_path / "option"
    assert runtime.runtime_directory("", environ) == tmp_path / "unit"
    del environ["RUNTIME_DIRECTORY"]
    assert runtime.runtime_directory("", environ) == tmp_path / "swell"
    assert runtime.runtime_directory("", {}) == private
    for made in (tmp_path / "option", tmp_path / "unit", tmp_path / "swell", private):
        assert mode(made) == 0o700


def test_a_runtime_directory_of_another_user_session_is_passed_over(tmp_path: Path, private: Path) -> None:
    assert runtime.runtime_directory("", {"XDG_RUNTIME_DIR": f"{tmp_path}/gone"}) == private


def test_root_uses_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(runtime, "made", lambda directory, *_: directory)
    assert runtime.runtime_directory("", {}) == Path("/run/swell")


def test_commands_look_wherever_a_server_may_have_been_started(tmp_path: Path, private: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/unit", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert runtime.runtime_directories("/elsewhere", environ) == [Path("/elsewhere")]
    for place in (tmp_path / "unit", tmp_path / "swell", private):
        assert place not in runtime.runtime_directories("", environ)
        place.mkdir()
    found = [place for place in runtime.runtime_directories("", environ) if place != Path("/run/swell")]
    assert found == [tmp_path / "unit", tmp_path / "swell", private]


def test_a_link_in_the_place_of_the_private_directory_is_refused(private: Path, tmp_path: Path) -> None:
    private.symlink_to(tmp_path)
    with pytest.raises(StartupError, match=r"swell-\d+: it is a link; remove it, or choose a --runtime-dir"):
        runtime.runtime_directory("", {})


def test_a_private_directory_that_others_may_use_is_refused(private: Path) -> None:
    private.mkdir(mode=0o755)
    with pytest.raises(StartupError, match=r"others may use it \(mode 0755\)"):
        runtime.runtime_directory("", {})


@AS_ROOT
def test_a_private_directory_of_another_owner_is_refused(private: Path) -> None:
    private.mkdir(mode=0o700)
    os.chown(private, 12345, 12345)
    with pytest.raises(StartupError, match="it belongs to user 12345"):
        runtime.runtime_directory("", {})


def test_a_named_directory_must_not_be_writable_for_all_unless_sticky(tmp_path: Path) -> None:
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(StartupError, match=r"others may use it \(mode 0777\); choose another --runtime-dir"):
        runtime.runtime_directory(str(place))
    place.chmod(0o1777)
    assert runtime.runtime_directory(str(place)) == place
    place.rmdir()
    place.touch()
    with pytest.raises(StartupError, match="it is not a directory; choose another --runtime-dir"):
        runtime.runtime_directory(str(place))


def test_the_state_directory_is_one_per_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {
        "STATE_DIRECTORY": f"{tmp_path}/unit:x",
        "XDG_STATE_HOME": f"{tmp_path}/xdg",
        "HOME": f"{tmp_path}/home",
    }
    assert runtime.state_directory("main", f"{tmp_path}/option", environ) == tmp_path / "option" / "main"
    assert runtime.state_directory("main", "", environ) == tmp_path / "unit" / "main"
    del environ["STATE_DIRECTORY"]
    assert runtime.state_directory("main", "", environ) == tmp_path / "xdg" / "swell" / "main"
    del environ["XDG_STATE_HOME"]
    monkeypatch.setattr(os, "access", lambda *_: False)
    made = runtime.state_directory("main", "", environ)
    assert made == tmp_path / "home" / ".local" / "state" / "swell" / "main"
    assert mode(made) == 0o700
    assert runtime.state_directory("main", "", environ) == made


@pytest.mark.parametrize(
    ("app", "options", "name"),
    [
        ("main:app", {}, "main-8000"),
        ("shop.web:app", {"port": 80}, "shop.web-80"),
        ("main:app", {"port": 0}, "main"),
        ("main:app", {"uds": "/run/front.sock"}, "main-front"),
        ("main:app", {"fd": 3}, "main-fd3"),
        ("main:app", {"bind": ["unix:/tmp/ä b.sock", "[::1]:9"]}, "main-b"),
        (test_root_uses_run, {}, "supervisor.test_runtime-8000"),
        ("x" * 100 + ":app", {}, "x" * 40 + "-8000"),
    ],
)
def test_the_name_comes_from_application_and_address(app: str, options: dict[str, object], name: str) -> None:
    config = Config.make(app, **options)
    found = default_name(config.app, config.addresses)
    assert found.removeprefix("tests.") == name
    Config.make(app, name=found)  # and may be given as an option


def test_a_claim_makes_the_files_for_the_owner_only(root: Path) -> None:
    with closing(InstanceDirectory.claim(root, "main-8000")) as one:
        assert (one.name, one.path) == ("main-8000", root / "main-8000")
        assert mode(one.path) == 0o700
        assert mode(one.control) == 0o600
        assert stat.S_ISSOCK(os.lstat(one.control).st_mode)
        assert (one.path / "pid").read_text() == f"{os.getpid()}\n"
        assert not one.scoreboard.exists()
        one.scoreboard.touch()
        assert answers(one.control)
        assert list(instance_names(root)) == ["main-8000"]
    assert [entry.name for entry in root.iterdir()] == [".lock"]


def test_the_socket_is_never_open_to_others_whatever_the_umask(root: Path) -> None:
    before = os.umask(0)
    try:
        with closing(InstanceDirectory.claim(root, "main-8000")) as one:
            assert mode(one.control) == 0o600
            assert mode(one.path) == 0o700
    finally:
        assert os.umask(before) == 0


def test_a_second_instance_gets_a_number(root: Path) -> None:
    with (
        closing(InstanceDirectory.claim(root, "main-8000")),
        closing(InstanceDirectory.claim(root, "main-8000")) as second,
    ):
        assert second.name == "main-8000-2"
        assert list(instance_names(root)) == ["main-8000", "main-8000-2"]


def test_a_name_that_was_asked_for_must_be_free(root: Path) -> None:
    with closing(InstanceDirectory.claim(root, "main-8000", "shop")), pytest.raises(StartupError) as refused:
        InstanceDirectory.claim(root, "main-8000", "shop")
    assert str(refused.value) == (
        f"an instance named shop runs already (pid {os.getpid()}): end it with `swell stop --name shop`,"
        " or choose another --name"
    )
    (root / "mine").mkdir()
    (root / "mine" / "precious").touch()
    with pytest.raises(StartupError, match="is not an instance's directory: choose another --name"):
        InstanceDirectory.claim(root, "main-8000", "mine")


def test_many_claims_at_once_get_different_names(root: Path) -> None:
    claimed: list[InstanceDirectory] = []
    threads = [
        threading.Thread(target=lambda: claimed.append(InstanceDirectory.claim(root, "main-8000"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    try:
        assert sorted(one.name for one in claimed) == ["main-8000", *(f"main-8000-{number}" for number in range(2, 9))]
        assert all(answers(one.control) for one in claimed)
    finally:
        for one in claimed:
            one.close()


def test_the_end_of_one_removes_nothing_of_the_next(root: Path) -> None:
    """Several want one name, each as soon as it is free."""
    lives: list[str] = []
    missing: list[str] = []
    end = time.monotonic() + 1.5

    def live() -> None:
        while time.monotonic() < end and not missing:
            try:
                one = InstanceDirectory.claim(root, "main-8000", "shop")
            except StartupError:
                continue
            lives.append(one.name)
            one.scoreboard.touch()
            for _ in range(20):
                time.sleep(0.0002)
                missing.extend(file.name for file in (one.control, one.scoreboard) if not os.path.lexists(file))
            one.close()

    several = [threading.Thread(target=live) for _ in range(4)]
    for one in several:
        one.start()
    for one in several:
        one.join()
    assert not missing
    assert len(lives) > 5
    assert [entry.name for entry in root.iterdir()] == [".lock"]


def test_what_a_dead_instance_left_is_removed_by_the_next(dead: Path, root: Path) -> None:
    assert not answers(dead / "control.sock")
    with closing(InstanceDirectory.claim(root, "other-1")):
        assert not dead.exists()
    with closing(InstanceDirectory.claim(root, "main-8000")) as one:
        assert one.name == "main-8000"


def test_a_dead_instances_directory_with_other_files_is_left_alone(dead: Path, root: Path) -> None:
    (dead / "core").touch()
    with closing(InstanceDirectory.claim(root, "main-8000")) as one:
        assert one.name == "main-8000-2"
    assert (dead / "core").exists()


def test_an_empty_directory_takes_no_name(root: Path) -> None:
    (root / "main-8000").mkdir()
    with closing(InstanceDirectory.claim(root, "main-8000")) as one:
        assert one.name == "main-8000"


def test_without_a_control_socket_the_process_says_who_is_alive(root: Path) -> None:
    with closing(InstanceDirectory.claim(root, "main-8000", control=None)) as one:
        assert one.listener is None
        assert sorted(os.listdir(one.path)) == ["pid"]
        with closing(InstanceDirectory.claim(root, "main-8000", control=None)) as second:
            assert second.name == "main-8000-2"
        with subprocess.Popen([sys.executable, "-c", ""]) as gone:
            gone.wait(30)
        (one.path / "pid").write_text(f"{gone.pid}\n")
        with closing(InstanceDirectory.claim(root, "main-8000")) as third:
            assert third.name == "main-8000"


def test_a_socket_elsewhere_is_found_by_its_link(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "control"
    with closing(InstanceDirectory.claim(root, "main-8000", control=str(elsewhere))) as one:
        assert mode(elsewhere) == 0o600
        assert os.readlink(one.control) == str(elsewhere)
        assert answers(one.control)
        with pytest.raises(StartupError, match="there is a file already, or another server; choose another --control"):
            InstanceDirectory.claim(root, "other", control=str(elsewhere))
        assert list(instance_names(root)) == ["main-8000"]
    assert not os.path.lexists(elsewhere)
    elsewhere.write_text("precious")
    with pytest.raises(StartupError, match="choose another --control"):
        InstanceDirectory.claim(root, "other", control=str(elsewhere))
    assert elsewhere.read_text() == "precious"


def test_a_path_that_no_socket_can_have_names_the_option(tmp_path: Path) -> None:
    root = tmp_path / ("x" * 100)
    root.mkdir()
    with pytest.raises(StartupError, match=r"and a Unix socket takes 10\d: choose a shorter --runtime-dir"):
        InstanceDirectory.claim(root, "main-8000")
    assert [entry.name for entry in root.iterdir()] == [".lock"]


def test_a_successor_keeps_the_directory(root: Path) -> None:
    one = InstanceDirectory.claim(root, "main-8000")
    assert one.listener is not None
    successor = InstanceDirectory.adopt(one.path, socket.socket(fileno=os.dup(one.listener.fileno())))
    successor.scoreboard.touch()
    successor.write_pid()
    one.release()
    one.close()
    assert answers(successor.control)
    assert (successor.path / "pid").read_text() == f"{os.getpid()}\n"
    successor.close()
    assert not successor.path.exists()


def test_who_does_not_take_over_leaves_everything_as_it_was(root: Path) -> None:
    with closing(InstanceDirectory.claim(root, "main-8000")) as one:
        assert one.listener is not None
        (one.path / "pid").write_text("17\n")
        failed = InstanceDirectory.adopt(one.path, socket.socket(fileno=os.dup(one.listener.fileno())))
        assert failed.scoreboard != one.scoreboard
        failed.scoreboard.touch()
        failed.close()
        assert answers(one.control)
        assert (one.path / "pid").read_text() == "17\n"
        one.forget(os.getpid())
        assert not failed.scoreboard.exists()
    assert not one.path.exists()


def test_the_end_leaves_the_socket_of_a_successor_alone(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "control"
    one = InstanceDirectory.claim(root, "main-8000", control=str(elsewhere))
    os.unlink(elsewhere)
    with closing(InstanceDirectory.claim(root, "other", control=str(elsewhere))):
        one.close()
        assert answers(elsewhere)


@pytest.fixture(autouse=True)
def _no_sockets_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    yield
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before
