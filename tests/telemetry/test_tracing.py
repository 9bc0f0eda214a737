"""`--otel`: spans that leave by OTLP, with the names and attributes of the semantic conventions for HTTP servers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from telemetry.receiver import receiver
from telemetry.tracing import ERROR, INTERNAL, SERVER, ask, one, traced

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SOURCE = """
import asyncio
from opentelemetry import trace

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    scope["route"] = "/" + scope["path"].split("/")[1] + "/{id}"
    if "raise" in scope["path"]:
        raise ValueError("a 500")
    with trace.get_tracer("shop").start_as_current_span("inside"):
        await asyncio.sleep(0.02)
    status = 503 if "fail" in scope["path"] else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})
"""


def test_requests_are_spans_and_traces_go_on(tmp_path: Path) -> None:
    with receiver() as spans, traced(tmp_path, spans, SOURCE) as server:
        server.expect_error("ValueError")
        agent = {"user-agent": "a test"}
        assert ask(server, "/items/7?a=b", traceparent=f"00-{TRACE}-{PARENT}-01", **agent) == 200
        span = one(spans, "GET /items/{id}")
        assert (span.kind, span.trace, span.parent, span.service) == (SERVER, TRACE, PARENT, "shop")
        assert span.seconds >= 0.015
        assert span.attributes == {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.route": "/items/{id}",
            "url.scheme": "http",
            "url.path": "/items/7",
            "url.query": "a=b",
            "network.protocol.version": "1.1",
            "client.address": "127.0.0.1",
            "server.address": "127.0.0.1",
            "server.port": server.port,
            "user_agent.original": "a test",
        }
        inside = one(spans, "inside")
        assert (inside.kind, inside.trace, inside.parent) == (INTERNAL, TRACE, span.id)
        # Whoever began the trace has decided that it is not recorded.
        assert ask(server, "/secret/7", traceparent=f"00-{TRACE}-{PARENT}-00") == 200
        assert ask(server, "/fail/7", "BREW", traceparent="nonsense") == 503
        failed = one(spans, "HTTP /fail/{id}")
        assert (failed.status, failed.parent) == (ERROR, "")
        assert failed.trace != TRACE
        assert failed.attributes["error.type"] == "503"
        assert failed.attributes["http.request.method"] == "_OTHER"
        assert failed.attributes["http.request.method_original"] == "BREW"
        assert ask(server, "/raise/7") == 500
        raised = one(spans, "GET /raise/{id}")
        assert (raised.status, raised.events) == (ERROR, ["exception"])
        assert raised.attributes["error.type"] == "ValueError"
        assert raised.attributes["http.response.status_code"] == 500
        assert not [span for span in spans.spans if "/secret" in str(span.attributes.get("url.path"))]


def test_the_sampler_is_asked_and_the_last_spans_arrive(tmp_path: Path) -> None:
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    with receiver() as spans:
        with traced(tmp_path, spans, SOURCE, OTEL_BSP_SCHEDULE_DELAY="60000", **sampler) as server:
            for _ in range(5):
                assert ask(server, "/items/7") == 200
            assert ask(server, "/items/7", traceparent=f"00-{TRACE}-{PARENT}-01") == 200
            assert spans.spans == []
        # The end of the server does not wait a minute for the next batch, and does not lose this one.
        assert sorted(span.name for span in spans.spans) == ["GET /items/{id}", "inside"]


def test_without_the_library_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("async def app(scope, receive, send): ...\n")
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('no', name='opentelemetry')\n")
    command = [sys.executable, "-m", "swell", "main:app", "--otel", "--port", "0", "--control", "off"]
    done = subprocess.run(
        [*command, "--app-dir", str(tmp_path)], capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "--otel: opentelemetry is not installed; pip install 'swell[otel]'" in done.stderr
