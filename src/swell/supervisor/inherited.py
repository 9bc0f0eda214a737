"""Listening sockets that come from the parent before this one: which addresses they are for, and what is opened anew.

Nothing that is seen from outside changes before `begin`: new sockets are bound but do not listen, old ones are not
closed, because the parent before may have to go on with what it has. Sockets of an address that stays are all
kept, however many there are: connections may wait in the queue of each. Called by `main`; knows nothing of processes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from swell.config import Config
from swell.config.address import Address, FdAddress, TcpAddress, UnixAddress
from swell.errors import StartupError
from swell.worker.sockets import SYSTEMD, Listeners, describe, open_siblings, open_tcp, open_unix, resolve

__all__ = ["Group", "InheritingListeners"]

log = logging.getLogger("swell")


@dataclass(frozen=True, slots=True)
class Group:
    """The sockets of one address. `origin` is the address as it was written, `inode` that of a Unix socket's file."""

    origin: str
    sockets: Sequence[socket.socket]
    inode: int | None = None


class InheritingListeners(Listeners):
    """Like `Listeners`, with what another process had open already."""

    def __init__(self, config: Config, groups: Sequence[Group], *, shards: int) -> None:
        self._unused = list(groups)
        self._config = config
        self._at_begin: list[tuple[str, Callable[[], object]]] = []
        self._kept_paths: list[tuple[str, int]] = []
        # systemd's sockets have been taken by the first parent: none are looked for in the environment.
        try:
            super().__init__(config, {}, shards=shards)
        except BaseException:
            for group in self._unused:
                _close(group.sockets)
            raise

    def _open(self, address: Address, backlog: int, wildcards: set[int]) -> None:
        match address:
            case _ if self._config.has_default_address and (kept := self._take(lambda one: one.origin == SYSTEMD)):
                for group in kept:
                    self._add(SYSTEMD, *group.sockets)
            case UnixAddress():
                self._open_unix(address, backlog)
            case FdAddress():
                for group in self._take(lambda one: one.origin == str(address)):
                    self._add(group.origin, *group.sockets)
                    return
                raise StartupError(f"cannot listen on {address}: the running server has no such socket; restart it")
            case TcpAddress():
                if kept := self._take(lambda one: one.origin == str(address)):
                    for group in kept:
                        self._keep_tcp(str(address), group, backlog)
                else:
                    self._open_tcp(address, backlog, wildcards)

    def _open_tcp(self, address: TcpAddress, backlog: int, wildcards: set[int]) -> None:
        """An address that was not written before; its places may be in use by us all the same."""
        dual = address.host == "::" and (address.port == 0 or address.port not in wildcards)
        places = resolve(address)
        for family, place in list(places):
            for group in self._take(partial(_is_at, family, place, dual)):
                places.remove((family, place))
                self._keep_tcp(str(address), group, backlog)
        if places:
            for first in open_tcp(address, places, None, dual, self._shards > 1):
                opened = [first, *open_siblings(first, None, self._shards - 1)]
                self._add(str(address), *opened)
                self._listen_at_begin(opened, backlog)

    def _keep_tcp(self, origin: str, group: Group, backlog: int) -> None:
        first, more = group.sockets[0], []
        if len(group.sockets) < self._shards:
            # Set on a socket that listens already, it takes effect for those that come now.
            for one in group.sockets:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with contextlib.suppress(StartupError):  # then connections are shared by hand-over alone
                more = open_siblings(first, None, self._shards - len(group.sockets))
        self._add(origin, *group.sockets, *more)
        self._listen_at_begin([*group.sockets, *more], backlog)

    def _open_unix(self, address: UnixAddress, backlog: int) -> None:
        for group in self._take(partial(_is_file, address.path)):
            self._add(str(address), *group.sockets)
            # If we end before `begin`, the file is not ours to remove.
            self._kept_paths.append(self._paths.pop())
            self._at_begin.append((str(address), partial(os.chmod, address.path, address.mode)))
            self._listen_at_begin(group.sockets, backlog)
            return
        opened = open_unix(address, None)
        self._add(str(address), opened)
        self._listen_at_begin([opened], backlog)

    def _listen_at_begin(self, sockets: Sequence[socket.socket], backlog: int) -> None:
        for one in sockets:
            self._at_begin.append((describe(one), partial(one.listen, backlog)))

    def _take(self, fits: Callable[[Group], bool]) -> list[Group]:
        taken = [group for group in self._unused if fits(group)]
        self._unused = [group for group in self._unused if group not in taken]
        return taken

    def begin(self) -> list[int]:
        """The parent before lets go: new addresses are opened, old files are ours, and what is not wanted is closed.
        Returns the descriptors, by the number that we have inherited, that nobody is to accept from any more."""
        self._paths += self._kept_paths
        self._kept_paths.clear()
        for name, step in self._at_begin:
            try:
                step()
            except OSError as error:
                log.error("cannot listen on %s: %s", name, error.strerror or error)
        self._at_begin.clear()
        dead: list[int] = []
        for group in self._unused:
            # A socket that somebody else has opened may be in use there.
            if group.origin != SYSTEMD and not group.origin.startswith("fd:"):
                dead += [one.fileno() for one in group.sockets]
            log.info("no longer listening on %s", describe(group.sockets[0]))
            path = group.sockets[0].getsockname()
            if group.inode is not None and _is_file(path, group):
                os.unlink(path)
        self._close_unused()
        return dead

    def _close_unused(self) -> None:
        for group in self._unused:
            _close(group.sockets)
        self._unused.clear()

    def close(self) -> None:
        """Closes the sockets, and removes the Unix paths that are ours."""
        super().close()
        self._close_unused()


def _is_at(family: socket.AddressFamily, place: tuple[object, ...], dual: bool, group: Group) -> bool:
    first = group.sockets[0]
    if first.family != family or first.getsockname() != place:
        return False
    return family != socket.AF_INET6 or bool(first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)) != dual


def _is_file(path: str, group: Group) -> bool:
    """Whether connecting to this path still leads to it."""
    try:
        return group.sockets[0].getsockname() == path and os.stat(path).st_ino == group.inode
    except OSError:
        return False


def _close(sockets: Sequence[socket.socket]) -> None:
    for one in sockets:
        one.close()
