"""Traces by OpenTelemetry, with its own SDK: `--otel`, the extra swell[otel].

Where spans go: by OTLP/HTTP, in a thread of the SDK, in batches. Everything else is said by the variables that
OpenTelemetry has for it, such as OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER. An application
that has set up a provider of its own is traced by that one. What is a span, and what is told of it, is in `spans`,
which is imported only where the SDK is. Lifespan is not traced. Called by `server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from swell import __version__
from swell.errors import StartupError
from swell.worker.asgi import Application

if TYPE_CHECKING:
    from swell.worker.spans import Ids

__all__ = ["Tracing"]

log = logging.getLogger("swell")

# For the last batch, when the server ends. The exporter's own patience may be longer.
FLUSH_SECONDS = 5.0


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
        from swell.worker.spans import Ids

        provider = trace.get_tracer_provider()
        self._own: Any = None
        self._ids: Ids | None = None
        if isinstance(provider, trace.ProxyTracerProvider):
            default = Resource.create({SERVICE_NAME: name if isinstance(name, str) else "swell"})
            self._ids = Ids()
            resource = default.merge(OTELResourceDetector().detect())
            self._own = provider = TracerProvider(resource=resource, id_generator=self._ids)
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            trace.set_tracer_provider(provider)
        self._tracer = provider.get_tracer("swell", __version__)

    def around(self, application: Application) -> Application:
        """The application, traced."""
        from swell.worker.spans import limit_of, traced

        limit = None if self._own is None else limit_of(self._own.sampler)
        return traced(application, self._tracer, self._ids, limit)

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
