"""How many connections wait to be accepted, asked of the kernel: a system call per socket, without privileges.

TCP: TCP_INFO of a listening socket has the queue's length and limit where an open connection has other numbers
(linux/net/ipv4/tcp.c, tcp_get_info). Unix sockets: sock_diag(7), UNIX_DIAG_RQLEN. Where the system does not say, as in
some sandboxes, there is no answer. Used by `meter`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence

from swell.telemetry.metrics import Queue

__all__ = ["Backlog"]

# struct tcp_info: eight bytes, then words; the sixth is the backlog's length, the next its limit.
_LENGTH_AT = 8 + 4 * 4
_LISTEN = 10
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
_SHOW_QUEUE, _QUEUE = 1 << 4, 4
_DIAG_SECONDS = 0.1


class Backlog:
    """Of all listening sockets of an instance. `groups` are those of each address, `addresses` as people write them."""

    def __init__(
        self, sockets: Sequence[socket.socket], groups: Sequence[Sequence[int]], addresses: Sequence[str]
    ) -> None:
        self._sockets = sockets
        self._groups = groups
        self._addresses = addresses

    def read(self) -> list[Queue]:
        """One entry per address whose sockets answer; shards are added up."""
        found = []
        for group, address in zip(self._groups, self._addresses, strict=True):
            pairs = [pair for index in group if (pair := _queue(self._sockets[index])) is not None]
            if pairs:
                found.append(Queue(address, sum(length for length, _ in pairs), sum(limit for _, limit in pairs)))
        return found


def _queue(listener: socket.socket) -> tuple[int, int] | None:
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError, struct.error):
        if listener.family == socket.AF_UNIX:
            return _unix_queue(os.fstat(listener.fileno()).st_ino)
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        if info[0] == _LISTEN:
            length, limit = struct.unpack_from("=II", info, _LENGTH_AT)
            return length, limit
    return None


def _unix_queue(inode: int) -> tuple[int, int] | None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as diag:  # type: ignore[attr-defined,unused-ignore]
        diag.settimeout(_DIAG_SECONDS)
        # Any cookie will do: the socket is ours and open.
        wanted = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, _SHOW_QUEUE, 0xFFFFFFFF, 0xFFFFFFFF)
        head = struct.pack("=IHHII", 16 + len(wanted), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
        diag.sendto(head + wanted, (0, 0))
        answer = diag.recv(4096)
    if struct.unpack_from("=IH", answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    for kind, value in _attributes(answer[32:]):
        if kind == _QUEUE:
            length, limit = struct.unpack_from("=II", value)
            return length, limit
    return None


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind, data[at + 4 : at + length]
        at += (length + 3) & ~3
