"""uvicorn's options that Swell knows by name but does not have: each says in one line why, and what to use instead.

Harmless ones are accepted, with a note where a reader may wonder; those that would change what the server does are
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FOREIGN", "SHARED", "Foreign"]


@dataclass(frozen=True, slots=True)
class Foreign:
    """`accepted` maps the values that are harmless to a note, empty if there is nothing to say; `None` is any value."""

    name: str
    refusal: str = ""
    accepted: Mapping[str | None, str] = field(default_factory=dict)
    takes_value: bool = True

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def note(self, value: object) -> str | None:
        """What to tell about an accepted value, `None` if the value is refused."""
        text = str(value).strip().lower()
        if not self.takes_value and text in ("false", "off", "no", "0"):
            return ""
        return self.accepted.get(text, self.accepted.get(None))

    def refusals(self, value: object) -> list[str]:
        """What is wrong with a value, in a list that is empty when nothing is."""
        if value is None or self.note(value) is not None:
            return []
        return [f"{self.flag}{f' {value}' if self.takes_value and self.accepted else ''}: {self.refusal}"]


_PARSER = "Swell has one HTTP parser of its own; the choice has no effect"
_FRAMES = "Swell has one WebSocket implementation of its own; the choice has no effect"
_ROWS = (
    Foreign(
        "http",
        "protocol classes cannot be plugged in: leave it out",
        {"auto": "", "h11": _PARSER, "httptools": _PARSER, "zttp": _PARSER},
    ),
    Foreign("http2", accepted={None: "HTTP/2 is on unless --http-version says otherwise"}, takes_value=False),
    Foreign(
        "ws",
        "WebSocket cannot be replaced or switched off: an application refuses it with websocket.close",
        {"auto": "", "websockets": _FRAMES, "websockets-sansio": _FRAMES, "wsproto": _FRAMES},
    ),
    Foreign("h11_max_incomplete_event_size", "Swell does not use h11: the same limit is --limit-head-size"),
    Foreign(
        "reset_contextvars",
        accepted={None: "every request already starts from a copy of the lifespan's context"},
        takes_value=False,
    ),
    Foreign(
        "timeout_worker_healthcheck",
        accepted={None: "Swell watches the event loop itself: see --timeout-worker-stuck; this has no effect"},
    ),
    Foreign(
        "ssl_version",
        "old versions of TLS are not built in: see --ssl-min-version",
        {"2": "", "17": ""},  # ssl.PROTOCOL_TLS and PROTOCOL_TLS_SERVER: what both sides know
    ),
    Foreign(
        "ssl_ciphers",
        "cipher suites are not picked one by one: see --ssl-profile",
        {"tlsv1": "", "default": ""},  # uvicorn's default, and OpenSSL's word for its own
    ),
    Foreign("ssl_context_factory", "TLS is not Python's ssl module: see the other --ssl options"),
    Foreign("callback_notify", "there is no periodic call-back: start a task in the application's lifespan"),
    Foreign("timeout_notify", "there is no periodic call-back: start a task in the application's lifespan"),
)  # fmt: skip

# Those that both have, in the order of uvicorn's own help.
SHARED = (
    "host", "port", "uds", "fd", "reload", "reload_dir", "reload_include", "reload_exclude", "reload_delay", "workers",
    "loop", "ws_max_size", "ws_max_queue", "ws_ping_interval", "ws_ping_timeout", "ws_per_message_deflate", "lifespan",
    "interface", "env_file", "log_config", "log_level", "access_log", "use_colors", "proxy_headers", "server_header",
    "date_header", "forwarded_allow_ips", "root_path", "limit_concurrency", "backlog", "limit_max_requests",
    "limit_max_requests_jitter", "timeout_keep_alive", "timeout_graceful_shutdown", "ssl_keyfile", "ssl_certfile",
    "ssl_keyfile_password", "ssl_cert_reqs", "ssl_ca_certs", "header", "app_dir", "factory",
)  # fmt: skip

FOREIGN: Mapping[str, Foreign] = {row.name: row for row in _ROWS}
