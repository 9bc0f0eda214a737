"""Listening sockets: opened from addresses, taken over from descriptors, handed in by systemd.

A port that is taken or a host that does not exist is one clear line. Called by the server before the application
starts, so that nothing has begun when an address is wrong.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping

from swell.config import Config
from swell.config.address import Address, FdAddress, TcpAddress, UnixAddress
from swell.errors import StartupError

__all__ = ["Listeners", "describe"]

# sd_listen_fds(3): inherited descriptors start here.
SYSTEMD_FIRST_FD = 3


class Listeners:
    """The sockets of one server. Use as a context manager: they are closed, and Unix paths removed, at the end."""

    def __init__(self, config: Config, environ: Mapping[str, str] = os.environ) -> None:
        self.sockets: list[socket.socket] = []
        self._paths: list[tuple[str, int]] = []
        try:
            inherited = _systemd(environ)
            if inherited and config.has_default_address:
                self.sockets.extend(_adopt(fd) for fd in inherited)
            else:
                for address in config.addresses:
                    self._open(address, config.backlog)
        except BaseException:
            self.close()
            raise

    def _open(self, address: Address, backlog: int) -> None:
        match address:
            case TcpAddress():
                self.sockets.extend(_tcp(address, backlog))
            case UnixAddress():
                self.sockets.append(_unix(address, backlog))
                self._paths.append((address.path, os.stat(address.path).st_ino))
            case FdAddress(fd):
                self.sockets.append(_adopt(os.dup(fd) if _is_open(fd) else fd))

    def close(self) -> None:
        """Closes the sockets; removes the Unix paths that are still ours."""
        for listener in self.sockets:
            listener.close()
        self.sockets.clear()
        for path, inode in self._paths:
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
        self._paths.clear()

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def describe(listener: socket.socket) -> str:
    """The address as a person would type it: a URL, or `unix:PATH`."""
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{address}"
    host = f"[{address[0]}]" if listener.family == socket.AF_INET6 else address[0]
    return f"http://{host}:{address[1]}"


def _tcp(address: TcpAddress, backlog: int) -> list[socket.socket]:
    flags = socket.AI_PASSIVE
    try:
        found = socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=flags)
    except OSError as error:
        raise StartupError(
            f"cannot listen on {address}: there is no such host ({error.strerror or error}); check --host"
        ) from None
    opened: list[socket.socket] = []
    port = address.port
    try:
        for family, kind, protocol, _, resolved in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            opened.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Accepted connections inherit it: small responses leave at once.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Several families of one name share the port that the first one was given.
            listener.bind((resolved[0], port, *resolved[2:]))
            port = listener.getsockname()[1]
            listener.listen(backlog)
            listener.setblocking(False)
    except OSError as error:
        for listener in opened:
            listener.close()
        raise StartupError(_refusal(str(address), error)) from None
    return opened


def _refusal(address: str, error: OSError) -> str:
    advice = {
        errno.EADDRINUSE: "it is in use; stop the other server or choose another --port (0 picks a free one)",
        errno.EACCES: "not permitted; ports below 1024 need privileges, choose a higher --port",
        errno.EADDRNOTAVAIL: "this machine has no such address; check --host",
    }.get(error.errno or 0, error.strerror or str(error))
    return f"cannot listen on {address}: {advice}"


def _unix(address: UnixAddress, backlog: int) -> socket.socket:
    _remove_stale(address.path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The file is born without permissions and gets its mode before anyone can connect.
    mask = os.umask(0o777)
    try:
        listener.bind(address.path)
        os.chmod(address.path, address.mode)
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


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _adopt(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
    except OSError:
        raise StartupError(f"cannot listen on fd:{fd}: it is not an open socket") from None
    listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listening:
        listener.listen()
    listener.setblocking(False)
    if listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _systemd(environ: Mapping[str, str]) -> list[int]:
    """Descriptors of systemd's socket activation, when they are meant for this process (sd_listen_fds(3))."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.get("LISTEN_FDS", "")
    return list(range(SYSTEMD_FIRST_FD, SYSTEMD_FIRST_FD + int(count))) if count.isdecimal() else []
