"""One running instance's directory: its name, its control socket, its files.

    RUNTIME/NAME/control.sock   what commands connect to, mode 0600; a link when --control names another path
    RUNTIME/NAME/scoreboard     shared memory of the workers; scoreboard-PID with a parent that took over from another
    RUNTIME/NAME/metrics        the metrics of the application, likewise
    RUNTIME/NAME/counted        what one parent has counted, until the next one has read it
    RUNTIME/NAME/shown          what the page of one parent has shown, likewise
    RUNTIME/NAME/pid            the parent's process id

An instance lives as long as its control socket answers, or, without one, as long as its process exists. What dead
ones have left behind is removed by whoever comes next. Knows nothing of workers or of what the files hold. Called by
the parent.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from swell.errors import StartupError
from swell.supervisor.runtime import CONTROL, PID, alive, answers, instance_names, made

__all__ = ["InstanceDirectory", "check_socket_path"]

_SCOREBOARD, _METRICS, _COUNTED, _SHOWN = "scoreboard", "metrics", "counted", "shown"
_PID_BESIDE = ".pid"  # until it is complete
_OURS = (CONTROL, _SCOREBOARD, _METRICS, _COUNTED, _SHOWN, PID, _PID_BESIDE)
_LOCK = ".lock"
# What sockaddr_un holds besides the NUL at its end: 108 bytes on Linux, 104 on BSD and macOS.
SOCKET_PATH_AT_MOST = 107 if sys.platform == "linux" else 103


def check_socket_path(path: Path) -> None:
    """Raises `StartupError` for a path that no Unix socket can have."""
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_AT_MOST:
        raise StartupError(
            f"the control socket's path has {size} bytes and a Unix socket takes {SOCKET_PATH_AT_MOST}:"
            f" choose a shorter --runtime-dir, or --control with a short path ({path})"
        )


def _remove(directory: Path) -> bool:
    """Removes an instance's directory, unless there are files in it that we did not make."""
    with contextlib.suppress(OSError):
        for file in (
            *map(directory.joinpath, _OURS),
            *directory.glob(f"{_SCOREBOARD}-*"),
            *directory.glob(f"{_METRICS}-*"),
        ):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)
        directory.rmdir()
    return not directory.exists()


@dataclass
class InstanceDirectory:
    """The directory of one instance, from `claim` to `close`. `listener` is the control socket, if there is one."""

    name: str
    path: Path
    listener: socket.socket | None
    # where --admin listens
    admin: socket.socket | None = None
    # the socket's file and its inode: at the end, a file that has come in its place is left alone
    _bound: tuple[Path, int] | None = None
    _scoreboard: str = _SCOREBOARD
    # False while the parent before this one has the directory, and once the next one has it
    _ours: bool = True

    @property
    def control(self) -> Path:
        """Where commands connect."""
        return self.path / CONTROL

    @property
    def scoreboard(self) -> Path:
        """Where the scoreboard is to be made. Nothing is there yet."""
        return self.path / self._scoreboard

    @property
    def counted(self) -> Path:
        """Where one parent leaves what it has counted for the next."""
        return self.path / _COUNTED

    @property
    def shown(self) -> Path:
        """Where one parent leaves what its page has shown for the next."""
        return self.path / _SHOWN

    @classmethod
    def claim(cls, root: Path, default: str, name: str = "", control: str | None = "auto") -> InstanceDirectory:
        """Takes a name in a runtime directory, and opens the control socket, so that nobody else takes it.

        A `name` that was asked for has to be free; `default` gets a number behind it when it is taken. `control` is
        `auto`, the path of the socket, or None for an instance without one. Raises `StartupError`.
        """
        try:
            lock = _locked(root)
        except OSError as error:
            reason = error.strerror or error
            raise StartupError(f"cannot write into {root}: {reason}; choose another --runtime-dir") from None
        try:
            _clean(root)
            if name:
                if not _free(root / name):
                    raise StartupError(_taken(root / name))
                return cls._make(root / name, control)
            names = (default if number == 1 else f"{default}-{number}" for number in range(1, 1000))
            free = next((one for one in names if _free(root / one)), None)
            if free is None:
                raise StartupError(f"no name like {default} is free in {root}: choose a --name")
            return cls._make(root / free, control)
        finally:
            os.close(lock)

    @classmethod
    def _make(cls, path: Path, control: str | None) -> InstanceDirectory:
        if control == "auto":
            check_socket_path(path / CONTROL)
        made(path, "choose another --name", private=True)
        claimed = cls(path.name, path, None)
        try:
            claimed.write_pid()
            if control is not None:
                target = path / CONTROL if control == "auto" else Path(control).absolute()
                claimed.listener = _listen(target)
                claimed._bound = (target, os.stat(target).st_ino)
                if control != "auto":
                    os.symlink(target, path / CONTROL)
        except BaseException:
            claimed._remove()
            raise
        return claimed

    @classmethod
    def adopt(cls, path: Path, listener: socket.socket | None) -> InstanceDirectory:
        """The directory of the parent that this process is to take over from, with the socket that it passed on. It
        is ours from `write_pid` on."""
        bound = None
        if listener is not None:
            target = Path(listener.getsockname())
            with contextlib.suppress(OSError):
                bound = (target, os.stat(target).st_ino)
        return cls(path.name, path, listener, None, bound, f"{_SCOREBOARD}-{os.getpid()}", False)

    def write_pid(self) -> None:
        """Says that this process is the instance's parent. Raises `StartupError`; it is not ours then."""
        beside = self.path / _PID_BESIDE
        try:
            beside.write_text(f"{os.getpid()}\n", encoding="ascii")
            os.replace(beside, self.path / PID)
        except OSError as error:
            raise StartupError(f"cannot write {self.path / PID}: {error.strerror or error}") from None
        self._ours = True

    def release(self) -> None:
        """Lets go of it without removing anything: another process has taken over."""
        for one in (self.listener, self.admin):
            if one is not None:
                one.close()
        self.listener = self.admin = None
        self._bound = None
        self._ours = False

    def forget(self, pid: int) -> None:
        """Removes what a process has left behind that was to take over and did not."""
        with contextlib.suppress(OSError):
            os.unlink(self.path / f"{_SCOREBOARD}-{pid}")
            os.unlink(self.path / f"{_METRICS}-{pid}")

    def close(self) -> None:
        """Closes the socket and removes the files, if they are ours."""
        lock = -1
        if self._ours:
            with contextlib.suppress(OSError):
                lock = _locked(self.path.parent)
        try:
            self._remove()
        finally:
            if lock >= 0:
                os.close(lock)

    def _remove(self) -> None:
        # While the socket answers, nobody takes the name, and with it the files that are removed here.
        if self._ours:
            if self._bound is not None:
                with contextlib.suppress(OSError):
                    if os.stat(self._bound[0]).st_ino == self._bound[1]:
                        os.unlink(self._bound[0])
            _remove(self.path)
        self.release()


def _locked(root: Path) -> int:
    """The descriptor of a lock, which closing it lifts. Held for some file operations only: between the look at a name
    and the socket that marks it as taken, and while the files of one are removed."""
    lock = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _clean(root: Path) -> None:
    """Removes what dead instances of this user have left behind."""
    for name in instance_names(root):
        with contextlib.suppress(OSError):
            if os.lstat(root / name).st_uid == os.geteuid() and not alive(root / name):
                _remove(root / name)


def _free(path: Path) -> bool:
    """Whether nothing is there, but for an empty directory, which somebody left who ended right after making it."""
    with contextlib.suppress(OSError):
        path.rmdir()
    return not os.path.lexists(path)


def _taken(path: Path) -> str:
    with contextlib.suppress(OSError):
        pid = (path / PID).read_text(encoding="ascii").strip()
        return (
            f"an instance named {path.name} runs already (pid {pid}):"
            f" end it with `swell stop --name {path.name}`, or choose another --name"
        )
    return f"{path} is there and is not an instance's directory: choose another --name"


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path` that only its owner can connect to."""
    check_socket_path(path)
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode) and not answers(path):
            os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StartupError(f"cannot listen on unix:{path}: {error.strerror or error}") from None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The file is born with this mode: there is no moment in which somebody else could connect.
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(64)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        reason = (
            "there is a file already, or another server" if error.errno == errno.EADDRINUSE else error.strerror or error
        )
        raise StartupError(f"cannot listen on unix:{path}: {reason}; choose another --control") from None
    finally:
        os.umask(mask)
    return listener
