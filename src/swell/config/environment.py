"""Options from environment variables: `SWELL_` and the option's name, `SWELL_PORT=80`. An empty variable is not set.

The prefix is ours: a variable that begins with it and names no option is refused, because it is a misspelt setting
that would silently do nothing. A few variables without it, which platforms set by themselves, stand in for ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from swell.config.foreign import FOREIGN
from swell.config.layers import Layer
from swell.config.model import OPTIONS, find_option
from swell.config.nearest import unknown

__all__ = ["CONFIG_VARIABLE", "read_environment"]

PREFIX = "SWELL_"
CONFIG_VARIABLE = "SWELL_CONFIG"  # the path of the file, as --config

# Kubernetes and Docker links describe a service called "swell" to every container with variables of these names.
_SERVICE_LINK = re.compile(r"SWELL_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?|ENV_\w+)")
# Two of them share a name with an option, whose value never looks like theirs.
_SERVICE_VALUES = {"SWELL_PORT": re.compile(r"(tcp|udp|sctp)://"), "SWELL_NAME": re.compile(r"/")}


def read_environment(environ: Mapping[str, str]) -> Layer:
    """The layer of these variables. Never touches `os.environ` itself."""
    layer = Layer()
    _read_platform(environ, layer)
    for name, value in environ.items():
        if name.startswith("UVICORN_"):
            _mention_uvicorn(name, layer)
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or not value:
            continue
        pattern = _SERVICE_VALUES.get(name)
        if _SERVICE_LINK.fullmatch(name) or (pattern is not None and pattern.match(value)):
            layer.notes.append(f"{name} describes a service called swell and is not an option; it was not read")
            continue
        key = name.removeprefix(PREFIX).lower()
        if name.isupper() and (option := find_option(key)) is not None:
            layer.put(option, value, option.variable if key == option.name else name)
        elif name.isupper() and key in FOREIGN:
            layer.put_foreign(key, value, name)
        else:
            layer.problems.append(unknown("variable", name, [option.variable for option in OPTIONS.values()]))
    return layer


def _read_platform(environ: Mapping[str, str], layer: Layer) -> None:
    for option in OPTIONS.values():
        for name in option.row.environment:
            value = environ.get(name, "").strip()
            if not value or environ.get(option.variable):
                continue
            layer.put(option, value, name)


def _mention_uvicorn(name: str, layer: Layer) -> None:
    option = find_option(name.removeprefix("UVICORN_").lower())
    if option is not None:
        layer.notes.append(f"{name} is not read: the variable is called {option.variable}")
