"""The application that the attacks are aimed at: it remembers what reached it and reports it.

Plain ASGI. `/_seen` and `/_state` tell the tests what the server let through; every other path does what its name says.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: What reached the application since it was last asked.
seen: list[dict[str, Any]] = []
#: How exchanges ended, by name.
counts: dict[str, int] = {}
#: Named events that requests wait for, set by `/set/NAME`.
events: dict[str, asyncio.Event] = {}


def count(name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def event(name: str) -> asyncio.Event:
    return events.setdefault(name, asyncio.Event())


def text(data: bytes) -> str:
    return data.decode("latin-1")


def describe(scope: Message) -> dict[str, Any]:
    return {
        "method": scope["method"],
        "path": scope["path"],
        "raw_path": text(scope["raw_path"]),
        "query": text(scope["query_string"]),
        "version": scope["http_version"],
        "scheme": scope["scheme"],
        "client": scope["client"],
        "root_path": scope["root_path"],
        "headers": [[text(name), text(value)] for name, value in scope["headers"]],
    }


async def answer(send: Send, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Message, receive: Receive, send: Send) -> None:
    """Reads the body and answers with all that arrived."""
    record = describe(scope)
    seen.append(record)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            record["disconnected"] = True
            count("disconnected")
            return
        body += message.get("body", b"")
        record["body"] = text(bytes(body[:100_000]))
        if not message.get("more_body"):
            break
    record["complete"] = True
    await answer(send, json.dumps(record).encode(), 200, (b"content-type", b"application/json"))


async def ignore(scope: Message, receive: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    seen.append(describe(scope))
    await answer(send, b"ignored")


async def hold(scope: Message, receive: Receive, send: Send) -> None:
    """Waits for `/set/NAME` or the client's leaving."""
    name = scope["path"].split("/")[2]
    seen.append(describe(scope))
    count("holding")
    leaving = asyncio.ensure_future(gone(receive))
    released = asyncio.ensure_future(event(name).wait())
    try:
        await asyncio.wait((leaving, released), return_when=asyncio.FIRST_COMPLETED)
        if released.done():
            await answer(send, b"released")
        else:
            count("left")
    except asyncio.CancelledError:
        count("cancelled")
        raise
    finally:
        count("held")
        leaving.cancel()
        released.cancel()


async def announce(scope: Message, receive: Receive, send: Send) -> None:
    """Says on the log that it has a place, and keeps it until the client leaves."""
    name = scope["path"].split("/")[2]
    print("in place", name, counts.get(name, 0), flush=True)
    count(name)
    await gone(receive)


async def gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def forever(scope: Message, receive: Receive, send: Send) -> None:
    """Does not look at the body and does not answer, until it is cancelled or `/set/NAME`."""
    seen.append(describe(scope))
    count("forever")
    try:
        await event(scope["path"].split("/")[2]).wait()
        await answer(send, b"at last")
    except asyncio.CancelledError:
        count("cancelled")
        raise


async def immortal(scope: Message, receive: Receive, send: Send) -> None:
    """Takes no notice of being cancelled."""
    count("immortal")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            count("cancelled")


async def late_stall(scope: Message, receive: Receive, send: Send) -> None:
    """Starts its response and then stands still."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        count("cancelled")
        raise


async def large(scope: Message, receive: Receive, send: Send) -> None:
    """One body of so many bytes."""
    count("large")
    await answer(send, b"x" * int(scope["path"].split("/")[2]))


async def file(scope: Message, receive: Receive, send: Send) -> None:
    """This file, by path; a few words where it cannot be opened."""
    await send({"type": START, "status": 200, "headers": []})
    try:
        await send({"type": "http.response.pathsend", "path": __file__})
    except OSError:
        await send({"type": BODY, "body": b"not now"})


async def stream(scope: Message, receive: Receive, send: Send) -> None:
    """So many pieces of 64 KiB; counts those that `send()` took."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    piece = b"x" * 65536
    try:
        for _ in range(int(scope["path"].split("/")[2])):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            count("pieces")
        await send({"type": "http.response.body", "body": b""})
    except OSError:
        count("send refused")
    finally:
        count("stream over")


async def slow_reader(scope: Message, receive: Receive, send: Send) -> None:
    """Takes the first piece of the body, the rest after `/set/NAME`."""
    total = 0
    first = True
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            count("disconnected")
            return
        total += len(message.get("body", b""))
        if first:
            first = False
            count("reading")
            await event(scope["path"].split("/")[2]).wait()
        if not message.get("more_body"):
            break
    await answer(send, str(total).encode())


async def stubborn(scope: Message, receive: Receive, send: Send) -> None:
    """Reads to the end, whatever that is, and answers whoever may still be there."""
    while (message := await receive())["type"] != "http.disconnect" and message.get("more_body"):
        pass
    count(message["type"])
    try:
        await answer(send, b"anyway")
    finally:
        count("stubborn over")


async def pause(scope: Message, receive: Receive, send: Send) -> None:
    """Answers after so many loop iterations: later than whatever is there already."""
    for _ in range(int(scope["path"].split("/")[2])):
        await asyncio.sleep(0)
    seen.append(describe(scope))
    await answer(send, scope["path"].encode())


START = "http.response.start"
BODY = "http.response.body"
#: Responses that no server may pass on as they are, by name.
WRONG: dict[str, list[dict[str, Any]]] = {
    "crlf-value": [{"type": START, "status": 200, "headers": [(b"x-a", b"1\r\nx-evil: 1")]}],
    "lf-value": [{"type": START, "status": 200, "headers": [(b"x-a", b"1\nx-evil: 1")]}],
    "cr-value": [{"type": START, "status": 200, "headers": [(b"x-a", b"1\rx-evil: 1")]}],
    "nul-value": [{"type": START, "status": 200, "headers": [(b"x-a", b"1\x00")]}],
    "split-body": [{"type": START, "status": 200, "headers": [(b"x-a", b"1\r\n\r\n<html>x-evil")]}],
    "cookie": [{"type": START, "status": 200, "headers": [(b"set-cookie", b"a=b\r\nx-evil: 1")]}],
    "location": [{"type": START, "status": 302, "headers": [(b"location", b"/\r\nx-evil: 1")]}],
    "crlf-name": [{"type": START, "status": 200, "headers": [(b"x-a: 1\r\nx-evil", b"1")]}],
    "colon-name": [{"type": START, "status": 200, "headers": [(b"x-evil:", b"1")]}],
    "space-name": [{"type": START, "status": 200, "headers": [(b"x-evil ", b"1")]}],
    "empty-name": [{"type": START, "status": 200, "headers": [(b"", b"x-evil")]}],
    "status-text": [{"type": START, "status": "200 OK\r\nx-evil: 1", "headers": []}],
    "status-low": [{"type": START, "status": 99, "headers": []}],
    "status-high": [{"type": START, "status": 1000, "headers": []}],
    "status-101": [{"type": START, "status": 101, "headers": [(b"upgrade", b"x-evil")]}],
    "length-word": [{"type": START, "status": 200, "headers": [(b"content-length", b"x-evil")]}],
    "two-lengths": [
        {"type": START, "status": 200, "headers": [(b"content-length", b"1"), (b"content-length", b"2")]},
    ],
}
#: Responses whose start is fine and whose rest is a lie, by name.
LIES: dict[str, list[dict[str, Any]]] = {
    "too-short": [
        {"type": START, "status": 200, "headers": [(b"content-length", b"10")]},
        {"type": BODY, "body": b"short"},
    ],
    "too-long": [
        {"type": START, "status": 200, "headers": [(b"content-length", b"5")]},
        {"type": BODY, "body": b"much longer than it said"},
    ],
    "too-long-late": [
        {"type": START, "status": 200, "headers": [(b"content-length", b"5")]},
        {"type": BODY, "body": b"12345", "more_body": True},
        {"type": BODY, "body": b"HTTP/1.1 200 OK\r\nx-evil: 1\r\n\r\n"},
    ],
    "start-twice": [
        {"type": START, "status": 200, "headers": []},
        {"type": START, "status": 404, "headers": [(b"x-evil", b"1")]},
    ],
    "never-ends": [
        {"type": START, "status": 200, "headers": []},
        {"type": BODY, "body": b"begun", "more_body": True},
    ],
    "start-in-body": [
        {"type": START, "status": 200, "headers": []},
        {"type": BODY, "body": b"begun", "more_body": True},
        {"type": START, "status": 500, "headers": [(b"x-evil", b"1")]},
    ],
    "body-first": [{"type": BODY, "body": b"x-evil"}],
    "nothing": [],
    "unknown": [{"type": "http.response.evil"}],
}
#: Responses that are allowed, and framed by the server whatever the application thinks of framing.
ODD: dict[str, list[dict[str, Any]]] = {
    "te-from-app": [
        {"type": START, "status": 200, "headers": [(b"transfer-encoding", b"chunked")]},
        {"type": BODY, "body": b"hello"},
    ],
    "connection-close": [
        {"type": START, "status": 200, "headers": [(b"connection", b"close")]},
        {"type": BODY, "body": b"hello"},
    ],
    "204-body": [{"type": START, "status": 204, "headers": []}, {"type": BODY, "body": b"x-evil"}],
    "304-body": [
        {"type": START, "status": 304, "headers": [(b"content-length", b"6")]},
        {"type": BODY, "body": b"x-evil"},
    ],
    "body-bytes": [
        {"type": START, "status": 200, "headers": [(b"content-length", b"5")]},
        {"type": BODY, "body": b"12", "more_body": True},
        {"type": BODY, "body": b"345"},
    ],
}


async def play(scope: Message, receive: Receive, send: Send) -> None:
    """Sends the messages of a table's row."""
    _, table, name = scope["path"].split("/")
    for message in {"wrong": WRONG, "lies": LIES, "odd": ODD}[table][name]:
        await send(message)


async def crash(scope: Message, receive: Receive, send: Send) -> None:
    raise LookupError("secret-in-the-exception")


async def report(scope: Message, receive: Receive, send: Send) -> None:
    """`/_seen` gives and forgets what was seen; `/_state` tells what is alive."""
    if scope["path"] == "/_seen":
        found: Any = list(seen)
        seen.clear()
    else:
        gc.collect()
        found = {"tasks": len(asyncio.all_tasks()), "objects": len(gc.get_objects()), "counts": dict(counts)}
    await answer(send, json.dumps(found).encode())


async def set_event(scope: Message, receive: Receive, send: Send) -> None:
    event(scope["path"].split("/")[2]).set()
    await answer(send, b"set")


ROUTES: dict[str, Callable[[Message, Receive, Send], Awaitable[None]]] = {
    "_seen": report,
    "_state": report,
    "set": set_event,
    "ignore": ignore,
    "hold": hold,
    "announce": announce,
    "forever": forever,
    "immortal": immortal,
    "late-stall": late_stall,
    "large": large,
    "file": file,
    "stream": stream,
    "slow-reader": slow_reader,
    "stubborn": stubborn,
    "pause": pause,
    "wrong": play,
    "lies": play,
    "odd": play,
    "crash": crash,
}


async def lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def websocket(scope: Message, receive: Receive, send: Send) -> None:
    """Echoes; tells `/_state` how it ended. `/ws/deaf` does not read, `/ws/late` sends after the end."""
    kind = scope["path"].rpartition("/")[2]
    headers = [[text(name), text(value)] for name, value in scope["headers"]]
    seen.append({"path": scope["path"], "headers": headers, "subprotocols": list(scope["subprotocols"])})
    await receive()
    if kind == "deny":
        await send({"type": "websocket.close"})
        return
    if kind == "inject-subprotocol":
        await send({"type": "websocket.accept", "subprotocol": "a\r\nx-evil: 1"})
    elif kind == "inject-header":
        await send({"type": "websocket.accept", "headers": [(b"x-a", b"1\r\nx-evil: 1")]})
    else:
        await send({"type": "websocket.accept"})
    count("ws open")
    try:
        if kind == "deaf":
            await event("deaf").wait()
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                count(f"ws disconnect {message['code']}")
                break
            count("ws message")
            reply = {"type": "websocket.send"}
            if message.get("text") is not None:
                reply["text"] = message["text"]
            else:
                reply["bytes"] = message["bytes"]
            await send(reply)
        if kind == "late":
            await send({"type": "websocket.send", "text": "too late"})
    finally:
        count("ws over")


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        first = scope["path"].removeprefix("/").partition("/")[0]
        await ROUTES.get(first, echo)(scope, receive, send)
