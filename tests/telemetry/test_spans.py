"""`--otel` over HTTP/2 and WebSocket, and what is not recorded. OpenTelemetry's conventions for HTTP spans."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import sampling
from support.frames import TEXT, close, frame
from support.http2 import http2
from support.server import ServerProcess
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from swell.worker.spans import limit_of
from telemetry.receiver import Receiver, Span, receiver
from telemetry.tracing import ERROR, SERVER, ask, one, traced

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SOURCE = """
import json
from opentelemetry import trace

def seen(span):
    context = span.get_span_context()
    return {
        "trace": f"{context.trace_id:032x}", "span": f"{context.span_id:016x}",
        "flags": context.trace_flags & 1, "recording": span.is_recording(),
    }

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    scope["route"] = "/" + scope["path"].split("/")[1]
    if scope["type"] == "http":
        outside = trace.get_current_span()
        with trace.get_tracer("shop").start_as_current_span("inside") as inside:
            body = json.dumps({"outside": seen(outside), "again": seen(outside), "inside": seen(inside)}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
        return
    await receive()
    if scope["path"] == "/refused":
        return await send({"type": "websocket.close"})
    if scope["path"] == "/denied":
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        return await send({"type": "websocket.http.response.body", "body": b"no"})
    if scope["path"] == "/early":
        raise ValueError("before it is accepted")
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message["text"] == "raise":
            raise ValueError("in the middle")
        with trace.get_tracer("shop").start_as_current_span("message"):
            await send({"type": "websocket.send", "text": message["text"]})
"""


@pytest.fixture(scope="module")
def spans() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, spans: Receiver) -> Iterator[ServerProcess]:
    with traced(tmp_path_factory.mktemp("traced"), spans, SOURCE) as running:
        running.expect_error("ValueError")
        yield running


def recorded(span: Span) -> tuple[object, ...]:
    found = span.attributes
    return (
        found["http.request.method"],
        found["http.response.status_code"],
        found["url.scheme"],
        found["url.path"],
        found["network.protocol.version"],
    )


def test_requests_over_http2(server: ServerProcess, spans: Receiver) -> None:
    with http2(server.address) as connection:
        fields = [("traceparent", f"00-{TRACE}-{PARENT}-01"), ("user-agent", "a test")]
        first, second = connection.begin("/two?a=b", fields=fields), connection.begin("/three", "POST")
        assert [connection.response(stream).status for stream in (first, second)] == [200, 200]
    two, three = one(spans, "GET /two"), one(spans, "POST /three")
    assert (two.kind, two.trace, two.parent) == (SERVER, TRACE, PARENT)
    assert two.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/two",
        "url.scheme": "http",
        "url.path": "/two",
        "url.query": "a=b",
        "network.protocol.version": "2",
        "client.address": "127.0.0.1",
        "server.address": "test.example",
        "user_agent.original": "a test",
    }
    assert three.parent == ""
    assert three.trace != TRACE


def test_a_websocket_is_one_span_until_it_is_closed(server: ServerProcess, spans: Receiver) -> None:
    with connect(
        f"ws://127.0.0.1:{server.port}/chat?room=1", additional_headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}
    ) as client:
        for text in ("one", "two"):
            client.send(text)
            assert client.recv(20) == text
        # A span that comes later shows that this one has not ended.
        assert ask(server, "/between") == 200
        one(spans, "GET /between")
        assert spans.named("GET /chat") == []
    span = one(spans, "GET /chat")
    assert (span.kind, span.trace, span.parent, span.status) == (SERVER, TRACE, PARENT, 0)
    assert recorded(span) == ("GET", 101, "ws", "/chat", "1.1")
    assert span.attributes["url.query"] == "room=1"
    assert [message.parent for message in spans.named("message")] == [span.id, span.id]


@pytest.mark.parametrize(
    ("path", "status", "error"), [("/refused", 403, None), ("/denied", 401, None), ("/early", 500, "ValueError")]
)
def test_a_websocket_that_is_not_accepted(
    server: ServerProcess, spans: Receiver, path: str, status: int, error: str | None
) -> None:
    with pytest.raises(InvalidStatus) as caught, connect(f"ws://127.0.0.1:{server.port}{path}"):
        pass
    assert caught.value.response.status_code == status
    span = one(spans, f"GET {path}")
    assert recorded(span) == ("GET", status, "ws", path, "1.1")
    assert (span.status == ERROR, span.attributes.get("error.type")) == (error is not None, error)


def test_a_websocket_whose_application_raises(server: ServerProcess, spans: Receiver) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/raises") as client:
        client.send("raise")
        span = one(spans, "GET /raises")
    assert recorded(span) == ("GET", 101, "ws", "/raises", "1.1")
    assert (span.status, span.events, span.attributes["error.type"]) == (ERROR, ["exception"], "ValueError")


def test_a_websocket_over_http2(server: ServerProcess, spans: Receiver) -> None:
    """RFC 8441: it is asked for by CONNECT and accepted with 200."""
    with http2(server.address) as connection:
        pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/tunnel")]
        fields = [*pseudo, (":authority", "test.example"), ("sec-websocket-version", "13")]
        stream = connection.begin_with(fields, end=False)
        head = connection.wait_head(stream)
        assert head.status == 200
        connection.send(stream, frame(TEXT, b"hello"))
        connection.wait(lambda: len(head.body) >= 7, "the echo")
        connection.send(stream, close(1000))
        connection.wait(lambda: head.ended, "the end of the stream")
    assert recorded(one(spans, "CONNECT /tunnel")) == ("CONNECT", 200, "ws", "/tunnel", "2")


def test_what_is_not_recorded_is_a_trace_all_the_same(tmp_path: Path) -> None:
    """Who makes a span or asks elsewhere has its id and its decision, which is the one that others make of the id."""
    half = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    told = []
    with receiver() as spans:
        with traced(tmp_path, spans, SOURCE, **half) as server:
            connection = http.client.HTTPConnection(*server.address, timeout=20)
            for _ in range(60):
                connection.request("GET", "/half")
                told.append(json.loads(connection.getresponse().read()))
            connection.close()
        arrived = {span.trace for span in spans.named("GET /half")}
        assert {span.trace for span in spans.named("inside")} == arrived
    for answer in told:
        outside, inside = answer["outside"], answer["inside"]
        assert answer["again"] == outside
        assert outside["trace"] == inside["trace"]
        assert outside["span"] != inside["span"]
        sampled = int(outside["trace"], 16) & (2**64 - 1) < 2**63
        assert [one[key] for one in (outside, inside) for key in ("recording", "flags")] == [sampled, sampled] * 2
        assert (outside["trace"] in arrived) == sampled
    assert len({answer["outside"]["trace"] for answer in told}) == 60
    assert 0 < len(arrived) < 60


def test_the_sampler_need_not_be_asked_where_its_answer_is_known() -> None:
    class Odd(sampling.TraceIdRatioBased):
        """Looks like one that is known."""

    ratio = sampling.TraceIdRatioBased(0.25)
    assert limit_of(sampling.ALWAYS_OFF) == limit_of(sampling.DEFAULT_OFF) == 0
    assert limit_of(sampling.ALWAYS_ON) == limit_of(sampling.DEFAULT_ON) == 2**64
    assert limit_of(ratio) == limit_of(sampling.ParentBased(ratio)) == 2**62
    assert limit_of(Odd(0.25)) is None
    assert limit_of(sampling.ParentBased(Odd(0.25))) is None
