"""`Config`: every option of Swell in one frozen object, which cannot hold a contradiction.

Made by `Config.make` from Python, by `sources.load` from files, the environment and the command line. Read by the
worker, which passes it to the engine as a whole. The fields are declared in `sections`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from swell.config.address import Address, FdAddress, TcpAddress, UnixAddress, parse_address
from swell.config.check import contradictions
from swell.config.foreign import FOREIGN
from swell.config.nearest import unknown
from swell.config.option import Option, ask
from swell.config.sections import (
    SECTIONS,
    Admin,
    Application,
    Http,
    Http2,
    Limits,
    Listen,
    Logs,
    Proxies,
    Reload,
    Timeouts,
    Tls,
    WebSocket,
    Workers,
)
from swell.errors import ConfigError

__all__ = ["OPTIONS", "Config", "find_option"]

OPTIONS: Mapping[str, Option] = {
    entry.name: ask(entry, section.title) for section in SECTIONS for entry in dataclasses.fields(section)
}
_ALIASES = {alias: option.name for option in OPTIONS.values() for alias in option.row.aliases}


def find_option(name: str) -> Option | None:
    """The option of that name as Python and files write it: uvicorn's plurals and hyphens are fine."""
    name = name.replace("-", "_")
    return OPTIONS.get(_ALIASES.get(name, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Application, Listen, Tls, Workers, Admin, Reload, Http, Http2, Limits, Timeouts, WebSocket, Proxies, Logs):
    """All options. Durations are seconds, sizes are bytes, `None` is off.

    The constructor reads every value as the command line would and raises `ConfigError` for a value out of range, or
    for values that contradict each other.
    """

    def __post_init__(self) -> None:
        problems: list[str] = []
        for option in OPTIONS.values():
            try:
                object.__setattr__(self, option.name, option.kind.read(getattr(self, option.name)))
            except ValueError as error:
                problems.append(f"{option.name} {error}")
        if not problems:
            problems.extend(contradictions(self))
        if problems:
            raise ConfigError(problems)

    @classmethod
    def make(cls, app: str | Callable[..., Any] = "", **options: object) -> Config:
        """From Python, with the names and spellings of the command line; uvicorn's keywords work.

        Reads neither files nor the environment. `None` means off where an option can be off, else the default.
        """
        values: dict[str, Any] = {"app": app}
        problems: list[str] = []
        for name, value in options.items():
            if (option := find_option(name)) is not None:
                if value is not None or option.kind.can_be_off:
                    values[option.name] = value
            elif name in FOREIGN:
                problems.extend(FOREIGN[name].refusals(value))
            else:
                problems.append(unknown("option", name, [*OPTIONS, *_ALIASES]))
        if problems:
            raise ConfigError(problems)
        return cls(**values)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where to listen, whichever of the options said so. Never empty."""
        if self.bind:
            return tuple(parse_address(text) for text in self.bind)
        if self.uds is not None:
            return (UnixAddress(self.uds),)
        if self.fd is not None:
            return (FdAddress(self.fd),)
        return (TcpAddress(self.host, self.port),)

    @property
    def has_tls(self) -> bool:
        """Whether there is a certificate, so that addresses speak TLS."""
        return bool(self.ssl_certfile) or self.ssl_cert_dir is not None or bool(self.acme_domain)

    @property
    def has_default_address(self) -> bool:
        """Whether no address was named, so that sockets which systemd passes may take its place."""
        return all(getattr(self, name) == OPTIONS[name].default for name in ("bind", "host", "port", "uds", "fd"))
