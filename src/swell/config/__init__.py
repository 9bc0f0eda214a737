"""The public option surface: one typed object, `Config`, and where its values come from.

Imports nothing of Swell but `swell.errors`. `sections` holds the table of options, `model` the object made from it.
"""

from __future__ import annotations

from swell.config.address import Address, FdAddress, TcpAddress, UnixAddress
from swell.config.model import OPTIONS, Config
from swell.config.option import Option
from swell.errors import ConfigError

__all__ = ["OPTIONS", "Address", "Config", "ConfigError", "FdAddress", "Option", "TcpAddress", "UnixAddress"]
