"""Options: probes, metrics and commands on a TCP port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swell.config.kinds import file, flag, off, text
from swell.config.option import option

__all__ = ["Admin"]


@dataclass(frozen=True, kw_only=True)
class Admin:
    __slots__ = ()
    title: ClassVar[str] = "Admin"

    admin: str | None = option(
        off(text("HOST:PORT")),
        None,
        "Serve probes, metrics and commands on this address too; on the control socket they always are. Beyond this"
        " machine it needs --admin-token-file.",
        why="Nobody gets a port that was not asked for.",
    )
    admin_token_file: str | None = option(
        off(file()),
        None,
        "File with a secret of at least 16 characters that everything on --admin but the probes asks for, as"
        " `Authorization: Bearer`.",
    )
    admin_read_only: bool = option(
        flag(), False, "Changes of state, such as scaling or stopping, are left to the control socket."
    )
