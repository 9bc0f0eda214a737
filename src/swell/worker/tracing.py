"""Spans of requests by OpenTelemetry, with its own SDK: `--otel`, the extra swell[otel].

A span per HTTP request, named and described as the stable semantic conventions for HTTP server spans say. The trace of
an incoming `traceparent` (W3C Trace Context) is continued, and so is its decision whether to record; the application's
own spans become children. Spans leave by OTLP/HTTP in a thread of the SDK, in batches. Everything else is said by the
variables that OpenTelemetry has for it, such as OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER. An
application that has set up a provider of its own is traced by that one.

WebSockets and lifespan pass untouched. Called by `server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from swell import __version__
from swell._core import ClientDisconnected, route_of
from swell.errors import StartupError
from swell.worker.asgi import Application, Message, Receive, Scope, Send

__all__ = ["Tracing"]

log = logging.getLogger("swell")

# For the last batch, when the server ends. The exporter's own patience may be longer.
FLUSH_SECONDS = 5.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
# W3C Trace Context and Baggage.
_PROPAGATED = frozenset({b"traceparent", b"tracestate", b"baggage"})


class Tracing:
    """One per server, from its start to `end`. To be made in the process that serves: the SDK starts a thread."""

    def __init__(self, name: str | Callable[..., Any]) -> None:
        """`name` is the application's, for spans of a service that OTEL_SERVICE_NAME does not name."""
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise StartupError(f"--otel: {error.name} is not installed; pip install 'swell[otel]'") from None
        provider = trace.get_tracer_provider()
        self._own: Any = None
        if isinstance(provider, trace.ProxyTracerProvider):
            default = Resource.create({SERVICE_NAME: name if isinstance(name, str) else "swell"})
            self._own = provider = TracerProvider(resource=default.merge(OTELResourceDetector().detect()))
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            trace.set_tracer_provider(provider)
        self._tracer = provider.get_tracer("swell", __version__)

    def around(self, application: Application) -> Application:
        """The application, traced."""
        from opentelemetry import context, propagate
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        tracer, extract = self._tracer, propagate.extract
        attach, detach = context.attach, context.detach

        def traced(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            return application(scope, receive, send) if scope["type"] != "http" else request(scope, receive, send)

        async def request(scope: Scope, receive: Receive, send: Send) -> None:
            carrier = {
                name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _PROPAGATED
            }
            parent = extract(carrier) if carrier else None
            method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
            name = method if method != "_OTHER" else "HTTP"
            # What a sampler may want to know is there from the beginning.
            span = tracer.start_span(name, parent, SpanKind.SERVER, _attributes(scope, method))
            token = attach(set_span_in_context(span, parent))
            if not span.is_recording():
                try:
                    return await application(scope, receive, send)
                finally:
                    detach(token)
                    span.end()
            status = 0

            def sending(message: Message) -> Awaitable[None]:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
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
                detach(token)
                if status:
                    span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(Status(StatusCode.ERROR))
                    if not _has(span, "error.type"):
                        span.set_attribute("error.type", str(status))
                if (route := route_of(scope)) is not None:  # type: ignore[arg-type]  # a dict, as the engine makes it
                    span.set_attribute("http.route", route)
                    span.update_name(f"{name} {route}")
                span.end()

        return traced

    async def end(self) -> None:
        """Sends what has not been sent, within a few seconds; without a receiver there is nobody to wait for."""
        if self._own is None:
            return
        loop = asyncio.get_running_loop()
        sent = loop.create_future()

        def flush() -> None:
            self._own.shutdown()
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(sent.cancel)

        # Not one of the loop's own threads, for which the end of the process would wait.
        threading.Thread(target=flush, name="swell flushes spans", daemon=True).start()
        await asyncio.wait((sent,), timeout=FLUSH_SECONDS)
        if not sent.done():
            log.warning("the last spans could not be sent within %g s", FLUSH_SECONDS)


def _has(span: Any, name: str) -> bool:
    return name in (getattr(span, "attributes", None) or ())


def _attributes(scope: Scope, method: str) -> dict[str, str | int]:
    """Semantic conventions, "HTTP server span": required and recommended attributes."""
    found: dict[str, str | int] = {
        "http.request.method": method,
        "url.scheme": scope["scheme"],
        "url.path": scope["path"],
        "network.protocol.version": scope["http_version"],
    }
    if method == "_OTHER":
        found["http.request.method_original"] = scope["method"]
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
