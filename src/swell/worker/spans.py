"""Spans around an ASGI application, after OpenTelemetry's stable semantic conventions for HTTP server spans.

A span for each HTTP request, over HTTP/1.1 and HTTP/2, and one for each WebSocket from its handshake to its close. The
trace of an incoming `traceparent` (W3C Trace Context) is continued, and so is its decision whether to record.

Where a request begins a trace and the sampler is one whose answer is known without asking (`limit_of`), the question
comes first: of a request that is not recorded there is nothing but a trace id, which the application's own spans and
outgoing requests find in the context. `bench/scrape.py` measures what that costs. Needs OpenTelemetry; made by
`tracing`, which knows where spans go.
"""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

from opentelemetry import context, propagate
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from swell._core import ClientDisconnected, route_of
from swell.worker.asgi import Application, Message, Receive, Scope, Send

__all__ = ["Ids", "limit_of", "traced"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
# W3C Trace Context and Baggage.
_PROPAGATED = frozenset({b"traceparent", b"tracestate", b"baggage"})
# A sampler by ratio looks at these bits of a trace id.
_LOW = (1 << 64) - 1
_RANDOM = TraceFlags(getattr(TraceFlags, "RANDOM_TRACE_ID", TraceFlags.DEFAULT))


class Ids(RandomIdGenerator):
    """Ids for the spans of one provider. A trace id that `traced` has drawn is the next one in its thread."""

    def __init__(self) -> None:
        self.drawn: int | None = None
        self.thread = threading.get_ident()

    def generate_trace_id(self) -> int:
        drawn = self.drawn
        if drawn is None or threading.get_ident() != self.thread:
            return super().generate_trace_id()
        self.drawn = None
        return drawn


def limit_of(sampler: Any) -> int | None:
    """Trace ids whose low 64 bits are below it are recorded, where a trace begins. None: only the sampler knows."""
    if isinstance(sampler, sampling.ParentBased):
        sampler = getattr(sampler, "_root", None)
    if sampler is sampling.ALWAYS_ON:
        return _LOW + 1
    if sampler is sampling.ALWAYS_OFF:
        return 0
    return sampler.bound if type(sampler) is sampling.TraceIdRatioBased else None


class _Unrecorded(NonRecordingSpan):
    """The span of a request that is not recorded. Few look at its ids: they are put together for the first who does."""

    def __init__(self, trace: int) -> None:
        self._trace = trace
        self._made: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        if self._made is None:
            span = random.getrandbits(64) or 1
            self._made = SpanContext(self._trace, span, is_remote=False, trace_flags=_RANDOM)
        return self._made

    def __repr__(self) -> str:
        return f"NonRecordingSpan({self.get_span_context()!r})"


def traced(application: Application, tracer: Any, ids: Ids | None, limit: int | None) -> Application:
    """The application, traced. With `ids` of the tracer's provider and a `limit` the sampler need not be asked."""
    if ids is None or limit is None:
        limit = _LOW + 1
    (span_key,) = set_span_in_context(INVALID_SPAN, context.Context())
    attach, current, made, draw = context.attach, context.get_current, context.Context, random.getrandbits

    # Contexts that are attached are not detached: they are those of the request's own task, and end with it.
    async def request(scope: Scope, receive: Receive, send: Send) -> None:
        begins = not current()
        for name, _ in scope["headers"]:
            if name in _PROPAGATED:
                begins = False
        trace = draw(128) if begins else 0
        if begins and trace & _LOW >= limit:
            attach(made({span_key: _Unrecorded(trace)}))
            await application(scope, receive, send)
            return
        if ids is not None:
            ids.drawn = trace or None
        await _asked(application, tracer, scope, receive, send)

    return request


async def _asked(application: Application, tracer: Any, scope: Scope, receive: Receive, send: Send) -> None:
    """With a span that the sampler decides about."""
    carrier = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _PROPAGATED}
    parent = propagate.extract(carrier) if carrier else None
    given = _method(scope)
    method = given if given in _METHODS else "_OTHER"
    name = method if method != "_OTHER" else "HTTP"
    # What a sampler may want to know is there from the beginning.
    span = tracer.start_span(name, parent, SpanKind.SERVER, _attributes(scope, method, given))
    context.attach(set_span_in_context(span, parent))
    if not span.is_recording():
        try:
            return await application(scope, receive, send)
        finally:
            span.end()
    status = 0

    def sending(message: Message) -> Any:
        nonlocal status
        status = status or _status(message, scope)
        return send(message)

    try:
        await application(scope, receive, sending)
    except BaseException as error:
        if not isinstance(error, (ClientDisconnected, asyncio.CancelledError)):
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR))
            # What the server answers by itself then.
            status = status or 500
        span.set_attribute("error.type", type(error).__qualname__)
        raise
    finally:
        if status:
            span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
            if "error.type" not in (getattr(span, "attributes", None) or ()):
                span.set_attribute("error.type", str(status))
        if (route := route_of(scope)) is not None:  # type: ignore[arg-type]  # a dict, as the engine makes it
            span.set_attribute("http.route", route)
            span.update_name(f"{name} {route}")
        span.end()


def _method(scope: Scope) -> str:
    """ASGI does not tell that of a WebSocket: RFC 6455 §4.1, RFC 8441 §4."""
    if scope["type"] == "websocket":
        return "CONNECT" if scope["http_version"] == "2" else "GET"
    return str(scope["method"])


def _status(message: Message, scope: Scope) -> int:
    """What the client is told by the first message that tells it something, else 0."""
    match message.get("type"):
        case "http.response.start" | "websocket.http.response.start":
            status = message.get("status")
            return status if isinstance(status, int) else 0
        case "websocket.accept":
            return 200 if scope["http_version"] == "2" else 101
        case "websocket.close":
            return 403
    return 0


def _attributes(scope: Scope, method: str, given: str) -> dict[str, str | int]:
    """Semantic conventions, "HTTP server span": required and recommended attributes."""
    found: dict[str, str | int] = {
        "http.request.method": method,
        "url.scheme": scope["scheme"],
        "url.path": scope["path"],
        "network.protocol.version": scope["http_version"],
    }
    if method == "_OTHER":
        found["http.request.method_original"] = given
    if scope["query_string"]:
        found["url.query"] = scope["query_string"].decode("latin-1")
    if scope["client"] is not None:
        found["client.address"] = scope["client"][0]
    for name, value in scope["headers"]:
        if name == b"host":
            host, _, port = value.decode("latin-1").rpartition(":")
            numbered = port.isascii() and port.isdigit() and not host.endswith(":")
            found["server.address"] = host if numbered and host else value.decode("latin-1")
            if numbered and host:
                found["server.port"] = int(port)
        elif name == b"user-agent":
            found["user_agent.original"] = value.decode("latin-1")
    return found
