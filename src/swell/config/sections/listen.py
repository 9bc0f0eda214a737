"""Options: the addresses to listen on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swell.config.kinds import addresses, file, integer, number, off, text
from swell.config.option import option

__all__ = ["Listen"]


@dataclass(frozen=True, kw_only=True)
class Listen:
    __slots__ = ()
    title: ClassVar[str] = "Addresses"

    bind: tuple[str, ...] = option(
        addresses(),
        (),
        "HOST:PORT, [V6]:PORT, unix:PATH, unix:PATH?mode=0660 or fd:N. May be given several times; stands instead of"
        " --host, --port, --uds and --fd.",
    )
    host: str = option(
        text("HOST"),
        "127.0.0.1",
        "Name or address of one interface; 0.0.0.0 or :: for all.",
        why="Reachable from this machine only, until someone decides otherwise.",
    )
    port: int = option(integer(0, 65535, "PORT"), 8000, "TCP port; 0 picks a free one.")
    uds: str | None = option(
        off(file()),
        None,
        "Listen on a Unix socket instead.",
        uvicorn="uvicorn lets every user connect (mode 0666), Swell only its own (0600): for another mode use"
        " --bind unix:PATH?mode=0660",
    )
    fd: int | None = option(off(integer(0, 2**31 - 1)), None, "Listen on an inherited descriptor instead.")
    backlog: int = option(
        number(),
        2048,
        "Connections that the kernel may keep waiting until they are accepted.",
        why="The kernel cuts it down to net.core.somaxconn; `swell doctor` tells.",
    )
