"""The TCP socket of --admin, what guards it, and its TLS. Called by `main`."""

from __future__ import annotations

import socket
from pathlib import Path

from swell.config import Config
from swell.config.address import TcpAddress, parse_address
from swell.errors import StartupError
from swell.supervisor.admin.guard import Guard
from swell.worker.sockets import open_tcp, resolve
from swell.worker.tls import Keeper

__all__ = ["guard_of", "keeper_of", "listener_of"]

TOKEN_AT_LEAST = 16
_BACKLOG = 128


def listener_of(config: Config, inherited: socket.socket | None) -> socket.socket | None:
    """The listening socket, if there is to be one: that of the parent before this one where it has the same address.
    Raises `StartupError`."""
    if config.admin is None:
        if inherited is not None:
            inherited.close()
        return None
    address = parse_address(config.admin)
    assert isinstance(address, TcpAddress)
    place = resolve(address)[0]
    if inherited is not None:
        host, port = inherited.getsockname()[:2]
        if host == place[1][0] and address.port in (0, port):
            return inherited
        inherited.close()
    return open_tcp(address, [place], _BACKLOG, False, False)[0]


def guard_of(config: Config) -> Guard:
    """Raises `StartupError` for a token that is none."""
    token = None
    if config.admin_token_file is not None:
        try:
            token = Path(config.admin_token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it must be ASCII"
            raise StartupError(f"--admin-token-file {config.admin_token_file}: {reason}") from None
        if len(token) < TOKEN_AT_LEAST or not token.isprintable() or " " in token:
            raise StartupError(
                f"--admin-token-file {config.admin_token_file}: the token needs at least {TOKEN_AT_LEAST} characters"
                " and no blanks; `openssl rand -hex 32` makes a good one"
            )
    certificate = config.admin_ssl_ca_certs is not None
    return Guard(token=token, certificate=certificate, read_only=config.admin_read_only)


def keeper_of(config: Config) -> Keeper | None:
    """The certificates of this address alone, with keys for session tickets of its own: no session of another address,
    which may want no client certificate, goes on here. Raises `StartupError`."""
    if config.admin_ssl_certfile is None:
        return None
    authorities = config.admin_ssl_ca_certs
    return Keeper(
        Config.make(
            "admin:app",
            ssl_certfile=(config.admin_ssl_certfile,),
            ssl_keyfile=() if config.admin_ssl_keyfile is None else (config.admin_ssl_keyfile,),
            ssl_keyfile_password=config.admin_ssl_keyfile_password,
            ssl_ca_certs=authorities,
            # Probes have none, and whoever has a bad one is told what is wrong with it: the guard refuses.
            ssl_cert_reqs="none" if authorities is None else "ask",
            ssl_crl=config.admin_ssl_crl,
        )
    )
