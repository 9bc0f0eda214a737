"""Messages that are wrong: every one is refused with an error that names the message, the key and the rule.

The table is the specification: what is sent before, the wrong message, and what the error must say. What was refused
leaves no trace: the application can go on and the client gets a correct response.
"""

from typing import Any

import pytest
from support.apps import answer, body, start
from support.backends import over_both
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving

from swell._core import MessageError

B = "http.response.body"
S = "http.response.start"
T = "http.response.trailers"
STARTED = [start(200, (b"content-length", b"4"))]
STREAMING = [start(), body(b"x", more=True)]
PROMISED = [start(trailers=True), body(b"x")]

# (messages before, the wrong one, words of the error)
TYPES: list[tuple[list[Any], Any, list[str]]] = [
    ([], None, ["dict", "NoneType"]),
    ([], "http.response.start", ["dict", "str"]),
    ([], [("type", S)], ["dict", "list"]),
    ([], {}, ["type"]),
    ([], {"type": None}, ["type", "str", "NoneType"]),
    ([], {"type": b"http.response.start"}, ["type", "str", "bytes"]),
    ([], {"type": "http.response"}, ["http.response", "unknown", S]),
    ([], {"type": "websocket.send", "text": "x"}, ["websocket.send", "unknown"]),
    ([], {"type": S}, [S, "status", "missing"]),
    ([], {"type": S, "status": None}, [S, "status", "missing"]),
    ([], {"type": S, "status": "200"}, [S, "status", "integer"]),
    ([], {"type": S, "status": 99}, [S, "status", "99"]),
    ([], {"type": S, "status": 101}, [S, "status", "101"]),
    ([], {"type": S, "status": 1000}, [S, "status", "1000"]),
    ([], {"type": S, "status": -1}, [S, "status", "-1"]),
    ([], {"type": S, "status": 2**70}, [S, "status"]),
    ([], {"type": S, "status": 200.0}, [S, "status", "integer"]),
    ([], {"type": S, "status": 200, "headers": 5}, [S, "headers", "pairs", "int"]),
    ([], {"type": S, "status": 200, "headers": {"a": "b"}}, [S, "headers", "pairs", "str"]),
    ([], {"type": S, "status": 200, "headers": [b"ab"]}, [S, "headers", "pairs", "bytes"]),
    ([], {"type": S, "status": 200, "headers": [(b"a",)]}, [S, "headers", "pairs"]),
    ([], {"type": S, "status": 200, "headers": [(b"a", b"b", b"c")]}, [S, "headers", "pairs"]),
    ([], {"type": S, "status": 200, "headers": [("a", b"b")]}, [S, "headers", "bytes", "str"]),
    ([], {"type": S, "status": 200, "headers": [(b"a", "b")]}, [S, "headers", "bytes", "str"]),
    ([], {"type": S, "status": 200, "headers": [(b"a", 1)]}, [S, "headers", "bytes", "int"]),
    ([], {"type": S, "status": 200, "headers": [(b"", b"b")]}, [S, "headers", "name"]),
    ([], {"type": S, "status": 200, "headers": [(b"a b", b"c")]}, [S, "headers", "a b"]),
    ([], {"type": S, "status": 200, "headers": [(b"a:", b"c")]}, [S, "headers", "a:"]),
    ([], {"type": S, "status": 200, "headers": [(b"a\r\nb", b"c")]}, [S, "headers"]),
    ([], {"type": S, "status": 200, "headers": [(b"a", b"b\r\nc: d")]}, [S, "headers", "a"]),
    ([], {"type": S, "status": 200, "headers": [(b"a", b"b\nc")]}, [S, "headers"]),
    ([], {"type": S, "status": 200, "headers": [(b"a", b"b\0c")]}, [S, "headers"]),
    ([], {"type": S, "status": 200, "headers": [(b"content-length", b"x")]}, [S, "headers", "content-length"]),
    ([], {"type": S, "status": 200, "headers": [(b"content-length", b"-1")]}, [S, "headers", "content-length"]),
    (
        [],
        {"type": S, "status": 200, "headers": [(b"content-length", b"1"), (b"Content-Length", b"2")]},
        [S, "headers", "content-length", "RFC 9110 §8.6"],
    ),
    (STARTED, {"type": B, "body": "text"}, [B, "body", "bytes", "str"]),
    (STARTED, {"type": B, "body": 5}, [B, "body", "bytes", "int"]),
    (STARTED, {"type": B, "body": [1, 2]}, [B, "body", "bytes", "list"]),
    (PROMISED, {"type": T, "headers": [("a", "b")]}, [T, "headers", "bytes", "str"]),
    (PROMISED, {"type": T, "headers": [(b"a", b"b\r\n")]}, [T, "headers"]),
    ([], {"type": "http.response.early_hint"}, ["http.response.early_hint", "links", "missing"]),
    ([], {"type": "http.response.early_hint", "links": ["<a>"]}, ["http.response.early_hint", "links", "bytes", "str"]),
    ([], {"type": "http.response.early_hint", "links": [b"a\r\nb"]}, ["http.response.early_hint", "links"]),
    (STARTED, {"type": "http.response.pathsend"}, ["http.response.pathsend", "path", "missing"]),
    (STARTED, {"type": "http.response.pathsend", "path": 5}, ["http.response.pathsend", "path", "int"]),
    (STARTED, {"type": "http.response.pathsend", "path": "relative"}, ["http.response.pathsend", "path", "absolute"]),
    (STARTED, {"type": "http.response.zerocopysend"}, ["http.response.zerocopysend", "file", "missing"]),
]

ORDER: list[tuple[list[Any], Any, list[str]]] = [
    ([], body(b"x"), [B, S, "first"]),
    ([], {"type": T}, [T, S, "first"]),
    (STARTED, start(), [S, "already started"]),
    (STREAMING, start(), [S, "already started"]),
    (PROMISED, start(), [S, "already started"]),
    (STARTED, {"type": T}, [T, "trailers", "after the last body"]),
    (STREAMING, {"type": T}, [T, "trailers", "after the last body"]),
    (PROMISED, body(b"y"), [B, "complete"]),
    (STARTED, {"type": "http.response.early_hint", "links": []}, ["http.response.early_hint", "already started"]),
    (STREAMING, {"type": "http.response.early_hint", "links": []}, ["http.response.early_hint", "already started"]),
    (STARTED, body(b"12345"), [B, "5 bytes", "4", "content-length", "RFC 9110 §8.6"]),
    (STARTED, body(b"12345", more=True), [B, "5 bytes", "4", "content-length"]),
    (STARTED, body(b"123"), [B, "1 bytes are missing", "content-length"]),
    (STARTED, body(), [B, "4 bytes are missing", "content-length"]),
]

FINISH: dict[int, tuple[list[Any], bytes]] = {
    id(STARTED): ([body(b"1234")], b"1234"),
    id(STREAMING): ([body(b"y")], b"xy"),
    id(PROMISED): ([{"type": T, "headers": [(b"x-end", b"1")]}], b"x"),
}


def name(case: object) -> str:
    return repr(case)[:60] if isinstance(case, dict) else ""


@over_both
@pytest.mark.parametrize(("before", "wrong", "words"), TYPES + ORDER, ids=name)
def test_wrong_message(backend: Backend, before: list[Any], wrong: Any, words: list[str]) -> None:
    errors: list[MessageError] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in before:
            await send(message)
        with pytest.raises(MessageError) as caught:
            await send(wrong)
        errors.append(caught.value)
        finish = FINISH.get(id(before))
        if finish is None:
            await answer(send, b"recovered")
        else:
            for message in finish[0]:
                await send(message)

    async def scenario(server: InProcess) -> bytes:
        async with server.connect() as client:
            return (await client.get()).body

    got = serving(backend, app, scenario)
    assert got == FINISH.get(id(before), ([], b"recovered"))[1]
    (error,) = errors
    missing = [word for word in words if word not in str(error)]
    assert not missing, f"{missing} not in {error}"


@over_both
@pytest.mark.parametrize(
    "late", [start(), body(b"late"), {"type": T}, {"type": "http.response.early_hint", "links": []}]
)
@pytest.mark.parametrize("close", [False, True])
def test_nothing_can_be_sent_after_the_end(backend: Backend, late: Any, close: bool) -> None:
    errors: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"whole", 200, *([(b"connection", b"close")] if close else []))
        with pytest.raises(MessageError, match="already complete") as caught:
            await send(late)
        errors.append(str(caught.value))

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            response = await client.get()
            assert response.body == b"whole"
            if close:
                await client.over(response)
            else:
                assert (await client.get()).body == b"whole"

    serving(backend, app, scenario)
    assert errors == [error for error in errors if late["type"] in error]
    assert errors


@over_both
def test_send_and_receive_take_exactly_their_arguments(backend: Backend) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        for call, arguments in ((send, ()), (send, (1, 2)), (receive, (1,))):
            with pytest.raises(TypeError):
                await call(*arguments)
        with pytest.raises(TypeError, match="keyword"):
            await send(message=start())
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            assert (await client.get()).body == b"ok"

    serving(backend, app, scenario)


@over_both
def test_an_uncaught_message_error_is_a_500_or_cuts_the_connection(backend: Backend) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/early":
            await send({"type": S, "status": "200"})
        await send(start(200, (b"content-length", b"4")))
        await send(body(b"12", more=True))
        await send(body(b"345"))

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "exception in the ASGI application")
        async with server.connect() as client:
            assert (await client.get("/early")).status == 500
        async with server.connect() as client:
            await client.request("/late")
            assert (await client.cut()).body == b"12"

    serving(backend, app, scenario)
