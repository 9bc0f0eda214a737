"""Options: probes, metrics and commands on a TCP port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swell.config.kinds import file, flag, names, off, secret, text
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
        " machine it needs --admin-token-file or --admin-ssl-ca-certs.",
        why="Nobody gets a port that was not asked for.",
    )
    admin_token_file: str | None = option(
        off(file()),
        None,
        "File with a secret of at least 16 characters that everything on --admin but the probes asks for, as"
        " `Authorization: Bearer`.",
    )
    admin_ssl_certfile: str | None = option(
        off(file()), None, "Certificate with its chain, PEM, for --admin: it speaks TLS then, whatever the others do."
    )
    admin_ssl_keyfile: str | None = option(
        off(file()), None, "Its private key, PEM; without, it is in the same file as the certificate."
    )
    admin_ssl_keyfile_password: str | None = option(off(secret()), None, "Password of that key, if it is encrypted.")
    admin_ssl_ca_certs: str | None = option(
        off(file()),
        None,
        "Whose client certificates everything on --admin but the probes asks for: a PEM file of authorities. With"
        " --admin-token-file, both are needed.",
    )
    admin_ssl_crl: tuple[str, ...] = option(names("FILE"), (), "Revocation lists (PEM) for these certificates.")
    admin_read_only: bool = option(
        flag(), False, "Changes of state, such as scaling or stopping, are left to the control socket."
    )
