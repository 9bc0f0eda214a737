"""The rows of the table of options, one file per section, in the order in which people meet them.

A section is a mixin of fields without storage: `swell.config.model.Config` joins them. Adding an option means adding
a row here, and nothing anywhere else.
"""

from __future__ import annotations

from swell.config.sections.admin import Admin
from swell.config.sections.application import Application
from swell.config.sections.http import Http
from swell.config.sections.http2 import Http2
from swell.config.sections.limits import Limits
from swell.config.sections.listen import Listen
from swell.config.sections.logs import Logs
from swell.config.sections.proxies import Proxies
from swell.config.sections.reload import Reload
from swell.config.sections.timeouts import Timeouts
from swell.config.sections.tls import Tls
from swell.config.sections.websocket import WebSocket
from swell.config.sections.workers import Workers

__all__ = [
    "SECTIONS", "Admin", "Application", "Http", "Http2", "Limits", "Listen", "Logs", "Proxies", "Reload", "Timeouts",
    "Tls", "WebSocket", "Workers",
]  # fmt: skip

SECTIONS = (Application, Listen, Tls, Workers, Admin, Reload, Http, Http2, Limits, Timeouts, WebSocket, Proxies, Logs)
