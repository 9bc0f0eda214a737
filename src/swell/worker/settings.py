"""The engine's options as it wants them: one object that crosses into native code once.

Seconds and bytes, 0 for off. The engine reads the attributes by name (`crates/engine/src/settings.rs`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swell.config import Config
from swell.telemetry.access import Entry, access_target

__all__ = ["EngineSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    root_path: str
    default_headers: bytes
    hsts: bytes
    server_header: bool
    date_header: bool
    eager_start: bool
    cancel_on_disconnect: bool
    access_log: bool
    access_json: bool
    access_colors: bool
    access_fd: int
    access_sink: Callable[[Sequence[Entry]], None] | None
    request_id: str
    request_id_header: str
    request_id_response: bool
    forwarders: str
    forwarded_convention: str
    proxy_protocol_from: str
    owner_only: bool
    http: str
    h2_max_streams: int
    h2_stream_window: int
    h2_connection_window: int
    h2_max_resets: int
    h2_max_overhead: int
    limit_request_line: int
    limit_head_fields: int
    limit_head_size: int
    limit_body_size: int
    limit_requests_per_connection: int
    limit_max_requests: int
    limit_concurrency: int
    limit_queue: int
    timeout_handshake: float
    slow_callback: float
    timeout_header: float
    timeout_keep_alive: float
    timeout_request: float
    timeout_queue: float
    timeout_write: float
    body_rate_min: int
    body_rate_grace: float
    websockets: bool
    ws_max_size: int
    ws_max_queue: int
    ws_max_fragments: int
    ws_inflate_ratio: int
    ws_per_message_deflate: bool
    ws_ping_interval: float
    ws_ping_timeout: float
    ws_close_timeout: float

    @classmethod
    def of(cls, config: Config) -> EngineSettings:
        """What the engine needs of the configuration."""
        access = access_target(config)
        return cls(
            root_path=config.root_path,
            default_headers="".join(f"{name}: {value}\r\n" for name, value in config.header).encode("latin-1"),
            hsts=_hsts(config),
            server_header=config.server_header,
            date_header=config.date_header,
            eager_start=config.eager_start,
            cancel_on_disconnect=config.cancel_on_disconnect,
            access_log=access.enabled,
            access_json=config.log_format == "json",
            access_colors=access.colors,
            access_fd=access.fd,
            access_sink=access.sink,
            request_id=config.request_id,
            request_id_header=config.request_id_header,
            request_id_response=config.request_id_response,
            forwarders=",".join(config.forwarded_allow_ips) if config.proxy_headers else "",
            forwarded_convention=config.forwarded_fields,
            proxy_protocol_from=",".join(config.proxy_protocol_from),
            owner_only=False,  # a Unix socket's mode says who may connect; the control socket asks for more
            http=config.http_version,
            h2_max_streams=config.h2_max_streams,
            h2_stream_window=config.h2_stream_window,
            h2_connection_window=config.h2_connection_window,
            h2_max_resets=config.h2_max_resets,
            h2_max_overhead=config.h2_max_overhead,
            limit_request_line=config.limit_request_line,
            limit_head_fields=config.limit_head_fields,
            limit_head_size=config.limit_head_size,
            limit_body_size=config.limit_body_size or 0,
            limit_requests_per_connection=config.limit_requests_per_connection or 0,
            limit_max_requests=_retirement(config),
            limit_concurrency=config.limit_concurrency or 0,
            limit_queue=config.limit_queue,
            timeout_handshake=config.timeout_handshake or 0,
            slow_callback=config.slow_callback or 0,
            timeout_header=config.timeout_header or 0,
            timeout_keep_alive=config.timeout_keep_alive,
            timeout_request=config.timeout_request or 0,
            timeout_queue=config.timeout_queue or 0,
            timeout_write=config.timeout_write or 0,
            body_rate_min=config.body_rate_min or 0,
            body_rate_grace=config.body_rate_grace,
            websockets=True,
            ws_max_size=config.ws_max_size,
            ws_max_queue=config.ws_max_queue,
            ws_max_fragments=config.ws_max_fragments,
            ws_inflate_ratio=config.ws_inflate_ratio or 0,
            ws_per_message_deflate=config.ws_per_message_deflate,
            ws_ping_interval=config.ws_ping_interval or 0,
            ws_ping_timeout=config.ws_ping_timeout or 0,
            ws_close_timeout=config.ws_close_timeout,
        )


def _retirement(config: Config) -> int:
    """The jitter keeps workers that began together from ending together."""
    if config.limit_max_requests is None:
        return 0
    return config.limit_max_requests + random.randint(0, config.limit_max_requests_jitter)  # noqa: S311 - no secret


def _hsts(config: Config) -> bytes:
    """RFC 6797 §6.1, as a whole field."""
    if config.hsts is None:
        return b""
    subdomains = "; includeSubDomains" if config.hsts_subdomains else ""
    return f"strict-transport-security: max-age={config.hsts:.0f}{subdomains}\r\n".encode()
