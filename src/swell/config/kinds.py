"""What a value of an option can be: how it is read from text or a Python object, and how it is shown.

A `Kind` is the only thing that knows a type. The command line, the environment, files and `Config.make` all hand
their raw values to `Kind.read`, so that one spelling works everywhere. `read` takes its own results unchanged, and
takes what `show` prints. It raises `ValueError` with a predicate ("must be ..."): the caller puts the option's name
in front.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from swell.config.address import parse_address
from swell.config.units import OFF_WORDS, read_duration, read_size, show_duration, show_size
from swell.config.workers import WorkerRange, read_workers, show_workers

__all__ = [
    "Kind", "addresses", "application", "auto_flag", "choice", "directory", "duration", "field_name", "file", "flag",
    "headers", "host_names", "integer", "log_settings", "names", "networks", "number", "off", "secret", "size", "text",
    "words", "workers",
]  # fmt: skip

T = TypeVar("T")
S = TypeVar("S", bound=str)

_TRUE = frozenset({"on", "true", "yes", "1"})
_FALSE = frozenset({"off", "false", "no", "0"})
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_HOST = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 §2.1
_IDENTIFIERS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One type of value: `label` for the tables, `metavar` for the help, and how it is read and shown."""

    label: str
    metavar: str
    read: Callable[[object], T]
    show: Callable[[T], str]
    is_flag: bool = False
    repeatable: bool = False
    can_be_off: bool = False
    is_secret: bool = False


def _string(value: object) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {value!r}")
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    return value


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def text(metavar: str = "TEXT") -> Kind[str]:
    return Kind("text", metavar, _string, str)


def secret() -> Kind[str]:
    """Text that is not to be shown to anybody."""
    return Kind("text", "TEXT", _string, lambda value: "(set)" if value else "", is_secret=True)


def file() -> Kind[str]:
    return Kind("path", "FILE", _string, str)


def directory() -> Kind[str]:
    return Kind("path", "DIR", lambda value: _string(value) or ".", str)


def integer(minimum: int, maximum: int, metavar: str = "N") -> Kind[int]:
    """A whole number between two bounds, both included. `10_000` may be written so."""

    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(_\d+)*", value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"must be a whole number, not {value!r}")
        if not minimum <= value <= maximum:
            raise ValueError(f"must lie between {minimum} and {maximum}, not {value}")
        return value

    return Kind("integer", metavar, read, str)


def number(metavar: str = "N") -> Kind[int]:
    """A count of at least one."""
    return integer(1, 2**31 - 1, metavar)


def workers() -> Kind[WorkerRange]:
    return Kind("number, range or auto", "N|MIN..MAX|auto", read_workers, show_workers)


def flag() -> Kind[bool]:
    def read(value: object) -> bool:
        word = value.strip().lower() if isinstance(value, str) else ""
        if value is True or word in _TRUE:
            return True
        if value is False or word in _FALSE:
            return False
        raise ValueError(f"must be on or off, not {value!r}")

    return Kind("on|off", "on|off", read, lambda value: "on" if value else "off", is_flag=True)


def auto_flag() -> Kind[bool | None]:
    on_or_off = flag()

    def read(value: object) -> bool | None:
        return None if value is None or value == "auto" else on_or_off.read(value)

    return Kind("auto|on|off", "auto|on|off", read, lambda v: "auto" if v is None else on_or_off.show(v), is_flag=True)


def choice(*allowed: S) -> Kind[S]:
    names = "|".join(allowed)

    def read(value: object) -> S:
        for name in allowed:
            if isinstance(value, str) and value.strip().lower() == name:
                return name
        raise ValueError(f"must be one of {', '.join(allowed)}, not {value!r}")

    return Kind(names, names, read, str)


def words(*allowed: S, numbers: Mapping[int, S], digits: bool = False) -> Kind[S]:
    """A choice that also goes by number: the levels of `logging`. `digits`: in text as well."""
    inner = choice(*allowed)

    def read(value: object) -> S:
        if digits and isinstance(value, str) and value.strip().isdecimal():
            value = int(value)
        return inner.read(numbers.get(value, value) if isinstance(value, int) else value)

    return Kind(inner.label, inner.metavar, read, str)


def duration(*, zero: bool = False) -> Kind[float]:
    """Seconds. `zero` says whether 0 has a meaning of its own."""

    def read(value: object) -> float:
        seconds = read_duration(value)
        if seconds == 0 and not zero:
            raise ValueError("must be longer than 0 (to disable a limit write off)")
        return seconds

    return Kind("duration", "DURATION", read, show_duration)


def size(minimum: int = 1, maximum: int = 1 << 50) -> Kind[int]:
    def read(value: object) -> int:
        result = read_size(value)
        if not minimum <= result <= maximum:
            raise ValueError(f"must lie between {show_size(minimum)} and {show_size(maximum)}, not {value!r}")
        return result

    return Kind("size", "SIZE", read, show_size)


def off(inner: Kind[T]) -> Kind[T | None]:
    """The same, or `None`: written `off` or `none`."""

    def read(value: object) -> T | None:
        if value is None or (isinstance(value, str) and value.strip().lower() in OFF_WORDS):
            return None
        return inner.read(value)

    def show(value: T | None) -> str:
        return "off" if value is None else inner.show(value)

    return Kind(f"{inner.label} or off", inner.metavar, read, show, can_be_off=True, is_secret=inner.is_secret)


def _many(label: str, metavar: str, read_one: Callable[[object], str]) -> Kind[tuple[str, ...]]:
    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, str | list | tuple):
            raise ValueError(f"must be text or a list, not {value!r}")
        parts: list[object] = []
        for item in (value,) if isinstance(value, str) else value:
            parts.extend(item.split(",") if isinstance(item, str) else (item,))
        return tuple(dict.fromkeys(read_one(part) for part in (_stripped(part) for part in parts) if part != ""))

    return Kind(label, metavar, read, ",".join, repeatable=True)


def names(metavar: str) -> Kind[tuple[str, ...]]:
    return _many("list", metavar, _string)


def host_names(metavar: str) -> Kind[tuple[str, ...]]:
    """Names of hosts, in lower case; other alphabets as `xn--…` (RFC 5890)."""

    def read_one(item: object) -> str:
        name = _string(item).lower().removesuffix(".")
        if not _HOST.fullmatch(name) or len(name) > 253 or name.rpartition(".")[2].isdecimal():
            raise ValueError(f"needs a host name such as www.example.org, not {item!r}: no wildcard, no address")
        return name

    return _many("list of host names", metavar, read_one)


def addresses() -> Kind[tuple[str, ...]]:
    return _many("list of addresses", "ADDRESS", lambda item: str(parse_address(_string(item))))


def networks(*literals: str) -> Kind[tuple[str, ...]]:
    """IP addresses and networks; `literals` are further words that are allowed, such as `*`."""

    def read_one(item: object) -> str:
        word = _string(item)
        if word in literals:
            return word
        try:
            network = ipaddress.ip_network(word, strict=False)
        except ValueError:
            extra = f", or one of {' '.join(literals)}" if literals else ""
            raise ValueError(f"has no network in {word!r} (write 10.0.0.0/8, ::1, 192.0.2.7{extra})") from None
        if "/" in word and str(ipaddress.ip_address(word.split("/")[0])) != str(network.network_address):
            raise ValueError(f"names a host and a network at once in {word!r}: did you mean {network}?")
        return str(network) if "/" in word else str(network.network_address)

    return _many("list of networks", "NETWORKS", read_one)


def headers() -> Kind[tuple[tuple[str, str], ...]]:
    """Response fields, `Name: value`; also pairs or a mapping from Python and TOML. RFC 9110 §5.5."""

    def read_one(item: object) -> tuple[str, str]:
        if isinstance(item, str):
            name, colon, value = item.partition(":")
            name = name.strip(" \t")
            if not colon:
                raise ValueError(f"needs Name: value, not {item!r}")
        elif isinstance(item, tuple | list) and len(item) == 2:
            name, value = (part.decode("latin-1") if isinstance(part, bytes) else _string(part) for part in item)
        else:
            raise ValueError(f"needs Name: value, not {item!r}")
        value = value.strip(" \t")
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"has an invalid field name {name!r} (RFC 9110 §5.1)")
        if any((ord(char) < 32 and char != "\t") or ord(char) == 127 or ord(char) > 255 for char in value):
            raise ValueError(f"has an invalid field value for {name}: {value!r} (RFC 9110 §5.5)")
        return name, value

    def read(value: object) -> tuple[tuple[str, str], ...]:
        if isinstance(value, Mapping):
            value = list(value.items())
        if not isinstance(value, str | list | tuple):
            raise ValueError(f"needs a list of Name: value, not {value!r}")
        # only a whole text is split: a line end inside one item is an attempt at a second field
        lines = [line for line in value.split("\n") if line.strip(" \t")] if isinstance(value, str) else value
        return tuple(read_one(item) for item in lines)

    def show(value: tuple[tuple[str, str], ...]) -> str:
        return "\n".join(f"{name}: {field}" for name, field in value)

    return Kind("list of fields", "NAME:VALUE", read, show, repeatable=True)


def field_name() -> Kind[str]:
    """The name of one header field, kept in lower case as in an ASGI scope."""

    def read(value: object) -> str:
        name = _string(value).strip().lower()
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"must be the name of a header field, not {value!r}")
        return name

    return Kind("field name", "NAME", read, str)


def log_settings() -> Kind[str | Mapping[str, object] | None]:
    """A file for `logging.config`, or its dictionary when given from Python."""

    def read(value: object) -> str | Mapping[str, object] | None:
        if value is None or isinstance(value, Mapping):
            return value
        name = _string(value)
        return None if not name or name.lower() in OFF_WORDS else name

    def show(value: str | Mapping[str, object] | None) -> str:
        return "off" if value is None else value if isinstance(value, str) else "(a dictionary)"

    return Kind("path or off", "FILE", read, show, can_be_off=True)


def application() -> Kind[str | Callable[..., Any]]:
    """`MODULE:ATTRIBUTE`, or the application itself when given from Python. Empty: not named yet."""

    def read(value: object) -> str | Callable[..., Any]:
        if callable(value):
            return value
        name = _string(value).strip()
        module, colon, attribute = name.partition(":")
        if not name or (colon and _IDENTIFIERS.fullmatch(module) and _IDENTIFIERS.fullmatch(attribute)):
            return name
        # A path from outside the current directory cannot become a module's name.
        outside, _, file = module.rpartition("/") if module.startswith(("/", "..")) else ("", "", module)
        guess = re.sub(r"\.py$", "", file).replace("/", ".").strip(".")
        if not _IDENTIFIERS.fullmatch(guess):
            guess = "main"
        if not _IDENTIFIERS.fullmatch(attribute):
            attribute = "app"
        hint = f" --app-dir {outside}" if outside else ""
        raise ValueError(f"must be MODULE:ATTRIBUTE, not {name!r}: try {guess}:{attribute}{hint}")

    def show(value: str | Callable[..., Any]) -> str:
        return value if isinstance(value, str) else f"{value!r}"

    return Kind("import string", "APP", read, show)
