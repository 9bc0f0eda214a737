"""Where instances keep their files: the runtime directory, the state directory, and the names within.

Each instance has a directory of its own in the runtime directory (`instance`). A directory that somebody else could
put files into is refused. Called by the parent, and by `control.client` to find the instances.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from swell.config.address import Address, FdAddress, TcpAddress, UnixAddress
from swell.errors import StartupError

__all__ = [
    "CONTROL",
    "PID",
    "alive",
    "answers",
    "default_name",
    "instance_names",
    "made",
    "runtime_directories",
    "runtime_directory",
    "state_directory",
]

CONTROL, PID = "control.sock", "pid"
# Only a parent that is stopped in a debugger lets the queue of its control socket overflow; it is alive all the same.
CONNECT_SECONDS = 1.0


def runtime_directory(option: str = "", environ: Mapping[str, str] = os.environ) -> Path:
    """The directory for new instances; it exists and is safe to use. Raises `StartupError` with what to do if not."""
    if option:
        return made(Path(option), "choose another --runtime-dir")
    if first := environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return made(Path(first), "see RuntimeDirectory= of the systemd unit, or choose a --runtime-dir")
    if (base := environ.get("XDG_RUNTIME_DIR")) and _owned(base):
        return made(Path(base) / "swell", "choose a --runtime-dir")
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return made(Path("/run/swell"), "choose a --runtime-dir")
    return made(_private(), "remove it, or choose a --runtime-dir", private=True)


def runtime_directories(option: str = "", environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Where instances may be: the directory above, or, when none is named, every one that another start of this user
    might have chosen. Nothing is made."""
    if option:
        return [Path(option)]
    places = [Path(place) for place in environ.get("RUNTIME_DIRECTORY", "").split(":") if place]
    if base := environ.get("XDG_RUNTIME_DIR"):
        places.append(Path(base) / "swell")
    places += [Path("/run/swell"), _private()]
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def state_directory(name: str, option: str = "", environ: Mapping[str, str] = os.environ) -> Path:
    """The directory for what an instance remembers from one run to the next; made if it does not exist."""
    if option:
        base = Path(option)
    elif first := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        base = Path(first)
    elif home := environ.get("XDG_STATE_HOME"):
        base = Path(home) / "swell"
    elif os.geteuid() == 0 and os.access("/var/lib", os.W_OK):
        base = Path("/var/lib/swell")
    else:
        base = Path(environ.get("HOME") or "/") / ".local" / "state" / "swell"
    return made(made(base, "choose another --state-dir") / name, "choose another --state-dir or --name", private=True)


def _owned(directory: str) -> bool:
    """The variable may be left over from the user who called su or sudo."""
    try:
        return os.stat(directory).st_uid == os.geteuid()
    except OSError:
        return False


def _private() -> Path:
    return Path(tempfile.gettempdir()) / f"swell-{os.geteuid()}"


def made(directory: Path, advice: str, *, private: bool = False) -> Path:
    """The directory, made if need be, and refused where somebody else could put files into it, or under it.

    `private` ones lie where everybody may write: a link or another owner is an attempt at our files.
    """
    directory = directory.absolute()
    try:
        with contextlib.suppress(FileExistsError):
            directory.parent.mkdir(parents=True, exist_ok=True)
            directory.mkdir(mode=0o700)
        found = os.lstat(directory) if private else os.stat(directory)
    except OSError as error:
        raise StartupError(f"cannot make the directory {directory}: {error.strerror or error}; {advice}") from None
    reason = ""
    if not stat.S_ISDIR(found.st_mode):
        reason = "it is a link" if stat.S_ISLNK(found.st_mode) else "it is not a directory"
    elif found.st_uid not in ((os.geteuid(),) if private else (os.geteuid(), 0)):
        reason = f"it belongs to user {found.st_uid}"
    elif found.st_mode & (0o077 if private else 0o022) and (private or not found.st_mode & stat.S_ISVTX):
        reason = f"others may use it (mode {stat.S_IMODE(found.st_mode):04o})"
    if reason:
        raise StartupError(f"cannot use the directory {directory}: {reason}; {advice}")
    return directory


def default_name(app: object, addresses: Sequence[Address]) -> str:
    """A name from the application and the first address: `main-8000`, `shop.web-front`."""
    module = app.partition(":")[0] if isinstance(app, str) else getattr(app, "__module__", "") or ""
    parts = [re.sub(r"[^A-Za-z0-9._-]", "", module).lstrip(".-")[-40:].lstrip(".-") or "swell"]
    match next(iter(addresses), None):
        case TcpAddress(_, port) if port:
            parts.append(str(port))
        case UnixAddress(path):
            stem = re.sub(r"[^A-Za-z0-9._-]", "", Path(path).stem)
            parts.append(stem[:20] or "unix")
        case FdAddress(fd):
            parts.append(f"fd{fd}")
    return "-".join(parts)


def instance_names(root: Path) -> Iterator[str]:
    """The instances in a runtime directory, alive or not."""
    with contextlib.suppress(OSError):
        for entry in sorted(root.iterdir()):
            if not entry.name.startswith(".") and any(os.path.lexists(entry / file) for file in (CONTROL, PID)):
                yield entry.name


def answers(path: Path) -> bool:
    """Whether somebody listens on this Unix socket. One that may not be connected to is somebody's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return False
        except OSError:  # a full queue, or no permission: there is a listener, or it is not ours to judge
            return True
    return True


def alive(directory: Path) -> bool:
    """Whether the instance of this directory runs: its socket answers, or, without one, its process exists."""
    if os.path.lexists(directory / CONTROL):
        return answers(directory / CONTROL)
    try:
        pid = int((directory / PID).read_text(encoding="ascii"))
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return pid > 0
