"""Listening sockets: opened from addresses, taken over from descriptors, handed in by systemd (sd_listen_fds(3)).

A port that is taken or a host that does not exist is one clear line, a `StartupError`. Knows nothing of what is served.
Called by the server before the application starts, so that nothing has begun when an address is wrong, and by the
supervisor, whose sockets outlive the workers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from swell.config import Config
from swell.config.address import Address, FdAddress, TcpAddress, UnixAddress
from swell.errors import StartupError

__all__ = ["Listeners", "Role", "describe", "open_siblings", "open_tcp", "open_unix", "prepare", "resolve"]

# sd_listen_fds(3): inherited descriptors start here.
SYSTEMD_FIRST_FD = 3
# The origin of sockets that systemd has passed.
SYSTEMD = "systemd"
# A name with several addresses and port 0: how often another port is tried when the first one's is taken at the next.
PORT_ATTEMPTS = 20
# A family that this machine does not have, or has no address of, though the name lists one.
NO_SUCH_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

# Before the address of a socket of --https-redirect.
REDIRECT = "to https from "

Place = tuple[socket.AddressFamily, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Role:
    """What the connections of a listening socket speak: TLS or not, or only where TLS is spoken, by port."""

    tls: bool = False
    redirect: int | None = None


class Listeners:
    """The sockets of one server. Use as a context manager: they are closed, and Unix paths removed, at the end."""

    def __init__(self, config: Config, environ: MutableMapping[str, str] = os.environ, *, shards: int = 1) -> None:
        """With `shards`, so many sockets are opened for each TCP address that we bind ourselves, and the kernel spreads
        new connections over them (SO_REUSEPORT). `groups` are the sockets of each address, as indexes into `sockets`.
        """
        self.sockets: list[socket.socket] = []
        self.groups: list[list[int]] = []
        self.origins: list[str] = []  # of each group: the address as it was written
        # Elsewhere than on Linux, sockets may share a port but the connections are not spread.
        self._has_tls = config.has_tls
        self._shards = shards if sys.platform == "linux" else 1
        self._paths: list[tuple[str, int]] = []
        try:
            inherited = _systemd(environ)
            if inherited and config.has_default_address:
                for fd in inherited:
                    self._add(SYSTEMD, _adopt(fd, f"fd:{fd} (LISTEN_FDS)", config.backlog))
            else:
                wildcards = {
                    a.port for a in config.addresses if isinstance(a, TcpAddress) and a.host in ("", "0.0.0.0")
                }
                for address in config.addresses:
                    self._open(address, config.backlog, wildcards)
                for address in redirecting(config):
                    first = len(self.origins)
                    self._open(address, config.backlog, set())
                    self.origins[first:] = [f"{REDIRECT}{origin}" for origin in self.origins[first:]]
        except BaseException:
            self.close()
            raise

    def _open(self, address: Address, backlog: int, wildcards: set[int]) -> None:
        match address:
            case TcpAddress():
                # `::` alone means every interface of both families.
                dual = address.host == "::" and (address.port == 0 or address.port not in wildcards)
                for first in open_tcp(address, resolve(address), backlog, dual, self._shards > 1):
                    self._add(str(address), first, *open_siblings(first, backlog, self._shards - 1))
            case UnixAddress():
                self._add(str(address), open_unix(address, backlog))
            case FdAddress(fd):
                self._add(str(address), _adopt(_duplicate(fd), str(address), backlog))

    def _add(self, origin: str, *group: socket.socket) -> None:
        self.origins.append(origin)
        self.groups.append(list(range(len(self.sockets), len(self.sockets) + len(group))))
        self.sockets.extend(group)
        if origin.startswith("unix:"):
            path = group[0].getsockname()
            self._paths.append((path, os.stat(path).st_ino))

    @property
    def addresses(self) -> list[str]:
        """Each address once, as a person would type it."""
        roles = self.roles
        return [describe(self.sockets[group[0]], tls=roles[group[0]].tls) for group in self.groups]

    @property
    def roles(self) -> list[Role]:
        """Of each socket."""
        roles = [Role(tls=self._has_tls)] * len(self.sockets)
        target = None
        for origin, group in zip(self.origins, self.groups, strict=True):
            first = self.sockets[group[0]]
            if origin.startswith(REDIRECT):
                role = Role(redirect=target)
            else:
                role = Role(tls=self._has_tls and "tls=off" not in origin.partition("?")[2])
                if role.tls and target is None and first.family != socket.AF_UNIX:
                    target = first.getsockname()[1]
            for index in group:
                roles[index] = role
        return roles

    @property
    def inodes(self) -> dict[str, int]:
        """The Unix paths that are ours, and what we have put there."""
        return dict(self._paths)

    def close(self) -> None:
        """Closes the sockets; removes the Unix paths that are still ours."""
        for listener in self.sockets:
            listener.close()
        self.sockets.clear()
        self.groups.clear()
        self.origins.clear()
        for path, inode in self._paths:
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
        self._paths.clear()

    def release(self) -> None:
        """Leaves the Unix paths to another process, which has the sockets too."""
        self._paths.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def redirecting(config: Config) -> list[TcpAddress]:
    """The addresses of --https-redirect: its port wherever TLS is spoken over TCP."""
    port = config.https_redirect
    hosts = {address.host: None for address in config.addresses if isinstance(address, TcpAddress) and address.tls}
    return [] if port is None else [TcpAddress(host, port) for host in hosts]


def describe(listener: socket.socket, *, tls: bool = False) -> str:
    """The address as a person would type it: a URL, or `unix:PATH`."""
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{address}"
    host = f"[{address[0]}]" if listener.family == socket.AF_INET6 else address[0]
    return f"{'https' if tls else 'http'}://{host}:{address[1]}"


def open_tcp(
    address: TcpAddress, places: Sequence[Place], backlog: int | None, dual: bool, shared: bool
) -> list[socket.socket]:
    """A socket at each of these places. Without a `backlog` they are bound and do not listen yet."""
    for _ in range(PORT_ATTEMPTS):
        opened: list[socket.socket] = []
        try:
            for family, place in places:
                # Several addresses of one name share the port that the first one was given.
                port = opened[0].getsockname()[1] if opened else address.port
                try:
                    opened.append(_listen(family, (place[0], port, *place[2:]), backlog, dual, shared))
                except OSError as error:
                    if error.errno not in NO_SUCH_FAMILY:
                        raise
                    failure = error
            if opened:
                return opened
            raise failure
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE and bool(opened) and address.port == 0
            for listener in opened:
                listener.close()
            if not taken:
                raise StartupError(_refusal(str(address), error)) from None
    raise StartupError(f"cannot listen on {address}: no port is free on all of its addresses")


def resolve(address: TcpAddress) -> list[Place]:
    """The socket addresses of a host, IPv4 first."""
    try:
        found = socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartupError(f"cannot listen on {address}: there is no such host ({reason}); check --host") from None
    unique = dict.fromkeys((family, place) for family, _, _, _, place in found)
    return sorted(unique, key=lambda entry: entry[0] != socket.AF_INET)


def open_siblings(first: socket.socket, backlog: int | None, number: int) -> list[socket.socket]:
    """More sockets on the same address."""
    opened: list[socket.socket] = []
    dual = first.family == socket.AF_INET6 and not first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    try:
        for _ in range(number):
            opened.append(_open(first.family, first.getsockname(), backlog, dual, True))
    except OSError as error:
        for listener in opened:
            listener.close()
        raise StartupError(f"cannot listen on {describe(first)}: {error.strerror or error}") from None
    return opened


def _listen(
    family: socket.AddressFamily, place: tuple[Any, ...], backlog: int | None, dual: bool, shared: bool
) -> socket.socket:
    if shared:
        # Sockets that share a port do so with anybody's who asks for it: whether the port is free, another kind tells.
        _open(family, place, backlog, dual, False).close()
    return _open(family, place, backlog, dual, shared)


def _open(
    family: socket.AddressFamily, place: tuple[Any, ...], backlog: int | None, dual: bool, shared: bool
) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it: small responses leave at once.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        listener.bind(place)
        if backlog is not None:
            listener.listen(backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _refusal(address: str, error: OSError) -> str:
    advice = {
        errno.EADDRINUSE: "it is in use; stop the other server or choose another --port (0 picks a free one)",
        errno.EACCES: "not permitted; ports below 1024 need privileges, choose a higher --port",
        errno.EADDRNOTAVAIL: "this machine has no such address; check --host",
    }.get(error.errno or 0, error.strerror or str(error))
    return f"cannot listen on {address}: {advice}"


def open_unix(address: UnixAddress, backlog: int | None) -> socket.socket:
    _remove_stale(address.path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The file is born without permissions and gets its mode before anyone can connect.
    mask = os.umask(0o777)
    try:
        listener.bind(address.path)
        os.chmod(address.path, address.mode)
        if backlog is not None:
            listener.listen(backlog)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise StartupError(f"cannot listen on {address}: {error.strerror or error}") from None
    finally:
        os.umask(mask)
    return listener


def _remove_stale(path: str) -> None:
    """Removes a socket that nobody listens on. Anything else at the path is left alone and is an error."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartupError(f"cannot listen on unix:{path}: {error.strerror or error}") from None
    if not stat.S_ISSOCK(found.st_mode):
        raise StartupError(f"cannot listen on unix:{path}: there is a file of another kind; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise StartupError(f"cannot listen on unix:{path}: {error.strerror or error}") from None
    raise StartupError(f"cannot listen on unix:{path}: another server listens there")


def _duplicate(fd: int) -> int:
    """A descriptor of our own: the given one stays with whoever opened it. `_adopt` tells about a bad number."""
    try:
        return os.dup(fd)
    except OSError:
        return fd


def _adopt(fd: int, name: str, backlog: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.close(fd)
        raise StartupError(f"cannot listen on {name}: it is not an open socket") from None
    try:
        # The application's own child processes are not to hold the port.
        listener.set_inheritable(False)
        prepare(listener, backlog, name)
    except StartupError:
        listener.close()
        raise
    return listener


def prepare(listener: socket.socket, backlog: int, name: str) -> None:
    """Makes somebody else's socket fit for the engine, which accepts until the socket would block."""
    if listener.type != socket.SOCK_STREAM:
        raise StartupError(f"cannot listen on {name}: it is not a stream socket")
    try:
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listener.listen(backlog)
        listener.setblocking(False)
        if listener.family != socket.AF_UNIX:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise StartupError(f"cannot listen on {name}: {error.strerror or error}") from None


def _systemd(environ: MutableMapping[str, str]) -> list[int]:
    """Descriptors of systemd's socket activation, when they are meant for this process. They are taken once."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.get("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    return list(range(SYSTEMD_FIRST_FD, SYSTEMD_FIRST_FD + int(count))) if count.isdecimal() else []
