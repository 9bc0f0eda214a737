"""Every kind of address, and every way in which one can be refused. The sockets are real, the server mostly is."""

import http.client
import os
import socket
import stat
import sys
from pathlib import Path

import pytest
from support.server import ServerProcess

from swell import Config
from swell.errors import StartupError
from swell.worker.sockets import Listeners, describe
from worker.launching import launched, outcome, wait_listening

NOBODY = 65534


def get(address: str | tuple[str, int]) -> bytes:
    """One request to a path or a host and port. Returns the body: the pid of the server."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(15)
        client.connect(address)
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.status == 200
        return response.read()


def assert_serves(server: ServerProcess, address: str | tuple[str, int]) -> None:
    assert get(address) == str(server.worker).encode(), server.log


def refusal(*binds: str) -> str:
    """What the server says about addresses it cannot have: one line, exit code 1, no traceback."""
    code, output = outcome("plain:app", *(word for bind in binds for word in ("--bind", bind)))
    assert code == 1, output
    assert output.count("\n") == 1, output
    assert output.startswith("swell: cannot listen on "), output
    return output


def test_several_addresses_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    binds = ["--bind", "127.0.0.1:0", "--bind", "[::1]:0", "--bind", f"unix:{path}"]
    with launched("plain:app", *binds) as server:
        v4 = int(server.wait_for_log(r"http://127\.0\.0\.1:(\d+)$")[1])
        v6 = int(server.wait_for_log(r"http://\[::1\]:(\d+)$")[1])
        server.wait_for_log(f"listening on unix:{path}$")
        for address in (("127.0.0.1", v4), ("::1", v6), path):
            assert_serves(server, address)
        server.stop()
    assert not os.path.exists(path), "the path is removed at the end"


def test_a_name_means_all_of_its_addresses_on_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    # what `localhost` resolves to is up to the machine's hosts file
    def both(host: str, port: int, **_: object) -> list[object]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with Listeners(Config.make("plain:app", host="localhost", port=0)) as listeners:
        names = [listener.getsockname()[:2] for listener in listeners.sockets]
        port = names[0][1]
        assert names == [("127.0.0.1", port), ("::1", port)]


def test_a_family_that_the_machine_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_foreign(host: str, port: int, **_: object) -> list[object]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", port, 0, 0)),  # RFC 3849: nobody's address
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", with_foreign)
    with Listeners(Config.make("plain:app", host="localhost", port=0)) as listeners:
        assert [listener.family for listener in listeners.sockets] == [socket.AF_INET]


def test_two_colons_mean_both_families() -> None:
    with launched("plain:app", "--host", "::", "--port", "0") as server:
        port = wait_listening(server)
        assert_serves(server, ("127.0.0.1", port))
        assert_serves(server, ("::1", port))
        server.stop()


def test_both_wildcards_can_be_named(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port = probe.getsockname()[1]
    with launched("plain:app", "--bind", f"[::]:{port}", "--bind", f"0.0.0.0:{port}") as server:
        server.wait_for_log(r"http://0\.0\.0\.0")
        assert_serves(server, ("127.0.0.1", port))
        assert_serves(server, ("::1", port))
        server.stop()


def test_port_0_is_told_and_free() -> None:
    with Listeners(Config.make("plain:app", port=0)) as one, Listeners(Config.make("plain:app", port=0)) as two:
        names = {describe(one.sockets[0]), describe(two.sockets[0])}
        assert len(names) == 2
        assert all(name.startswith("http://127.0.0.1:") and not name.endswith(":0") for name in names)


def test_a_busy_port_is_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"127.0.0.1:{port}: it is in use" in refusal(f"127.0.0.1:{port}")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".example", "256.1.1.1"])
def test_a_bad_host_is_one_line(host: str) -> None:
    assert "there is no such host" in refusal(f"{host}:0")


def test_a_foreign_address_is_one_line() -> None:
    assert "this machine has no such address" in refusal("192.0.2.1:0")  # RFC 5737: nobody's address


def as_nobody(*options: str) -> str:
    """What `Listeners` says to a user without privileges."""
    config = Config.make("plain:app", bind=options)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            if os.getuid() == 0:
                os.setgroups([])
                os.setuid(NOBODY)
            try:
                with Listeners(config):
                    os.write(write, b"listening")
            except StartupError as error:
                os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.skipif(
    sys.platform != "linux" or int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81,
    reason="here everybody may take low ports",
)
def test_a_low_port_without_privileges_is_one_line() -> None:
    assert as_nobody("127.0.0.1:81") == (
        "cannot listen on 127.0.0.1:81: not permitted; ports below 1024 need privileges, choose a higher --port"
    )


def test_a_unix_path_without_permission_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500 if os.getuid() else 0o700)
    path = tmp_path / "s.sock"
    assert as_nobody(f"unix:{path}") == f"cannot listen on unix:{path}: Permission denied"


@pytest.mark.parametrize(("query", "mode"), [("", 0o600), ("?mode=0660", 0o660), ("?mode=666", 0o666)])
def test_unix_socket_has_its_mode(tmp_path: Path, query: str, mode: int) -> None:
    path = tmp_path / "s.sock"
    with Listeners(Config.make("plain:app", bind=[f"unix:{path}{query}"])):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert not path.exists()


def test_uds_is_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    with launched("plain:app", "--uds", path) as server:
        wait_listening(server)
        assert_serves(server, path)
        server.stop()


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with launched("plain:app", "--uds", path) as server:
        wait_listening(server)
        assert_serves(server, path)
        server.stop()


def test_a_live_unix_socket_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(path)
        alive.listen()
        assert "another server listens there" in refusal(f"unix:{path}")
        assert stat.S_ISSOCK(os.stat(path).st_mode)


def test_another_file_at_the_path_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    assert "a file of another kind" in refusal(f"unix:{path}")
    assert path.read_text() == "data"


def test_a_path_taken_over_by_another_server_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as successor:
        with Listeners(Config.make("plain:app", uds=str(path))):
            successor.bind(str(tmp_path / "new.sock"))
            os.rename(tmp_path / "new.sock", path)
        assert path.exists()


def test_a_missing_directory_is_one_line(tmp_path: Path) -> None:
    assert "No such file or directory" in refusal(f"unix:{tmp_path}/nowhere/s.sock")


@pytest.mark.parametrize("option", ["--bind fd:{}", "--fd {}"])
def test_an_inherited_descriptor(option: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        words = option.format(listener.fileno()).split()
        with launched("plain:app", *words, pass_fds=[listener.fileno()]) as server:
            assert wait_listening(server) == listener.getsockname()[1]
            assert_serves(server, listener.getsockname())
            server.stop()
        with socket.create_connection(listener.getsockname(), 5):
            pass  # it is still open, and ours


def test_a_bound_descriptor_is_made_to_listen() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with launched("plain:app", "--fd", str(bound.fileno()), pass_fds=[bound.fileno()]) as server:
            wait_listening(server)
            assert_serves(server, bound.getsockname())
            server.stop()


def test_a_descriptor_that_is_not_open_is_one_line() -> None:
    assert "fd:77: it is not an open socket" in refusal("fd:77")


@pytest.mark.parametrize("kind", ["file", "datagram"])
def test_a_descriptor_of_another_kind_is_one_line(kind: str, tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        number = file.fileno() if kind == "file" else datagram.fileno()
        reason = {"file": "it is not an open socket", "datagram": "it is not a stream socket"}[kind]
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(StartupError, match=f"fd:{number}: {reason}"):
            Listeners(Config.make("plain:app", fd=number))
        assert set(os.listdir("/proc/self/fd")) == before


# sd_listen_fds(3): the manager puts the sockets at 3 and up, sets LISTEN_PID to the child's own pid and executes.
LAUNCHER = """
import os, socket, sys
sockets = []
for _ in range(2):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    sockets.append(listener)
print("activated", *(s.getsockname()[1] for s in sockets), flush=True)
copies = [os.dup2(s.fileno(), 50 + i) for i, s in enumerate(sockets)]
for i, copy in enumerate(copies):
    os.dup2(copy, 3 + i)
    os.close(copy)
os.environ["LISTEN_PID"] = str(os.getpid() + int(sys.argv[1]))
os.environ["LISTEN_FDS"] = "2"
os.execv(sys.executable, [sys.executable, "-m", "swell", *sys.argv[2:]])
"""


def activated(server: ServerProcess) -> list[int]:
    found = server.wait_for_log(r"activated (\d+) (\d+)")
    return [int(found[1]), int(found[2])]


def test_systemd_sockets_are_taken() -> None:
    with launched("0", "plain:app", command=("-c", LAUNCHER)) as server:
        ports = activated(server)
        for port in ports:
            server.wait_for_log(f"listening on http://127.0.0.1:{port}$")
            assert_serves(server, ("127.0.0.1", port))
        server.stop()


def test_systemd_sockets_for_another_process_are_not_ours() -> None:
    with launched("1", "plain:app", "--port", "0", command=("-c", LAUNCHER)) as server:
        ports = activated(server)
        assert wait_listening(server) not in ports
        server.stop()


def test_a_named_address_wins_over_systemd() -> None:
    with launched("0", "plain:app", "--bind", "127.0.0.1:0", command=("-c", LAUNCHER)) as server:
        ports = activated(server)
        assert wait_listening(server) not in ports
        server.stop()
