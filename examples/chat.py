"""A chat room over WebSocket: plain ASGI and one page, nothing to install besides Swell.

    swell examples.chat:app

Open http://127.0.0.1:8000/ in two windows. The room lives in the memory of one worker process.

`GET /` is the page (chat.html), `/ws` the room. Both sides speak JSON text messages with a `type`:

    client   join {name, key}  ·  say {text, ref}  ·  typing {on}
    server   welcome {room, you, members, history}  ·  joined {member}  ·  left {member}
             message {id, from, name, text, at, ref}  ·  typing {from, on}

Everything a client can make grow is bounded by the constants below. A client that talks too fast is not refused: the
room stops reading it for a moment, and the server's backpressure does the rest. One that reads too slowly is let go.
"""

import asyncio
import json
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_MEMBERS = 200  # one event goes to every member, so the cost of a busy room grows with the square
MAX_NAME = 32  # characters
MAX_TEXT = 2_000  # characters in one chat message
MAX_FRAME = 16_384  # characters of JSON: a full text with every character escaped still fits
MAX_HISTORY = 100  # messages shown to whoever comes later
MAX_OUTBOX = 256  # events waiting for one slow reader
JOIN_SECONDS = 20  # from the handshake to `join`
SAY_PER_SECOND, SAY_BURST = 5.0, 10.0

PAGE = Path(__file__).with_name("chat.html").read_bytes()
PAGE_HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-length", b"%d" % len(PAGE)),
    (b"cache-control", b"no-cache"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        b"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
]


class RefusedError(Exception):
    """The client broke the room's rules: close the WebSocket with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(eq=False)
class Member:
    """One connected person. `outbox` holds encoded events; a `RefusedError` in it ends the connection."""

    id: int
    name: str
    key: str
    outbox: asyncio.Queue[str | RefusedError] = field(default_factory=lambda: asyncio.Queue(MAX_OUTBOX))
    allowance: float = SAY_BURST
    refilled: float = field(default_factory=time.monotonic)

    def public(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name}

    def pace(self) -> float:
        """Take one token from the bucket and return how many seconds to wait before reading on."""
        now = time.monotonic()
        self.allowance = min(SAY_BURST, self.allowance + (now - self.refilled) * SAY_PER_SECOND) - 1
        self.refilled = now
        return max(0.0, -self.allowance / SAY_PER_SECOND)


class Room:
    """Who is here and what was said. Knows nothing of ASGI: it fills outboxes."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)  # tells a page that reconnects whether message numbers started anew
        self.members: dict[int, Member] = {}
        self.history: deque[dict[str, Any]] = deque(maxlen=MAX_HISTORY)
        self.numbers = 0

    def next_number(self) -> int:
        self.numbers += 1
        return self.numbers

    def free_name(self, wanted: str) -> str:
        taken = {member.name for member in self.members.values()}
        name, count = wanted, 1
        while name in taken:
            count += 1
            name = f"{wanted[: MAX_NAME - 6]} ({count})"
        return name

    def join(self, name: str, key: str) -> Member:
        before = next((member for member in self.members.values() if member.key == key), None)
        if before is not None:  # the same page came back before its old connection was seen to be dead
            self.dismiss(before, RefusedError(4001, "replaced by a newer connection"))
        elif len(self.members) >= MAX_MEMBERS:
            raise RefusedError(1013, "the room is full, try again later")
        member = Member(self.next_number(), self.free_name(name), key)
        self.members[member.id] = member
        self.broadcast({"type": "joined", "member": member.public()}, but=member)
        members = [other.public() for other in self.members.values()]
        welcome = {"type": "welcome", "room": self.id, "you": member.public(), "members": members}
        self.deliver(member, json.dumps({**welcome, "history": list(self.history)}))
        return member

    def leave(self, member: Member) -> None:
        if self.members.pop(member.id, None) is not None:
            self.broadcast({"type": "left", "member": member.public()})

    def say(self, member: Member, text: str, ref: str) -> None:
        event = {"type": "message", "id": self.next_number(), "from": member.id, "name": member.name}
        event |= {"text": text, "at": int(time.time() * 1000), "ref": ref}
        self.history.append(event)
        self.broadcast(event)

    def typing(self, member: Member, on: bool) -> None:
        self.broadcast({"type": "typing", "from": member.id, "on": on}, but=member)

    def broadcast(self, event: dict[str, Any], but: Member | None = None) -> None:
        encoded = json.dumps(event)
        for member in list(self.members.values()):
            if member is not but:
                self.deliver(member, encoded)

    def deliver(self, member: Member, encoded: str) -> None:
        try:
            member.outbox.put_nowait(encoded)
        except asyncio.QueueFull:
            self.dismiss(member, RefusedError(1013, "reading too slowly"))

    def dismiss(self, member: Member, why: RefusedError) -> None:
        while not member.outbox.empty():
            member.outbox.get_nowait()
        member.outbox.put_nowait(why)
        self.leave(member)


room = Room()


def text_of(event: dict[str, Any], key: str, limit: int) -> str:
    """A required, non-blank string of the client's message."""
    value = event.get(key)
    if not isinstance(value, str) or not value.strip():
        raise RefusedError(1008, f"'{event.get('type')}' needs '{key}': a string that is not blank")
    if len(value) > limit:
        raise RefusedError(1009, f"'{key}' is longer than {limit} characters")
    return value.strip()


async def events(receive: Receive) -> AsyncGenerator[dict[str, Any], None]:
    """The client's messages, decoded, until it goes away."""
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is None:
            raise RefusedError(1003, "only text messages are understood")
        if len(text) > MAX_FRAME:
            raise RefusedError(1009, f"a message is longer than {MAX_FRAME} characters")
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            raise RefusedError(1007, "not JSON") from None
        if not isinstance(event, dict):
            raise RefusedError(1008, "a message is a JSON object")
        yield event


async def write_outbox(member: Member, send: Send) -> None:
    """Carry events to the client, waiting whenever its connection is full. The room never waits for it."""
    with suppress(OSError):  # gone: the reading side hears of it too
        while isinstance(event := await member.outbox.get(), str):
            await send({"type": "websocket.send", "text": event})
        await send({"type": "websocket.close", "code": event.code, "reason": event.reason})


async def take_part(incoming: AsyncGenerator[dict[str, Any], None], send: Send) -> None:
    """One person's visit, from `join` to the end of the connection."""
    async with asyncio.timeout(JOIN_SECONDS):
        hello = await anext(incoming, None)
    if hello is None:
        return
    if hello.get("type") != "join":
        raise RefusedError(1008, "the first message is 'join'")
    member = room.join(text_of(hello, "name", MAX_NAME), text_of(hello, "key", 64))
    writer = asyncio.create_task(write_outbox(member, send))
    try:
        async for event in incoming:
            if member.id not in room.members:
                continue  # dismissed: the writer is telling why, then the stream of events ends
            match event.get("type"):
                case "say":
                    room.say(member, text_of(event, "text", MAX_TEXT), text_of(event, "ref", 64))
                case "typing":
                    room.typing(member, event.get("on") is True)
                case other:
                    raise RefusedError(1008, f"unknown type {str(other)[:40]!r}")
            if pause := member.pace():
                await asyncio.sleep(pause)
    finally:
        room.leave(member)
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)


def same_origin(scope: Message) -> bool:
    """Browsers name the page that opens a WebSocket: pages of other sites stay out. Other clients send no Origin."""
    headers = dict(scope["headers"])
    origin: bytes = headers.get(b"origin", b"")
    return not origin or origin.partition(b"://")[2] == headers.get(b"host")


async def websocket(scope: Message, receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    if scope["path"] != "/ws" or not same_origin(scope):
        await send({"type": "websocket.close", "code": 1000})  # before the handshake: the server answers 403
        return
    await send({"type": "websocket.accept"})
    try:
        async with aclosing(events(receive)) as incoming:
            await take_part(incoming, send)
    except RefusedError as refused:
        with suppress(OSError):
            await send({"type": "websocket.close", "code": refused.code, "reason": refused.reason})
    except TimeoutError:
        with suppress(OSError):
            await send({"type": "websocket.close", "code": 1008, "reason": f"no 'join' within {JOIN_SECONDS} s"})


async def http(scope: Message, receive: Receive, send: Send) -> None:
    status, headers, body = 200, PAGE_HEADERS, PAGE
    if scope["path"] != "/":
        status, body = 404, b"Not here. The chat is at /\n"
    elif scope["method"] not in ("GET", "HEAD"):
        status, body = 405, b"Only GET and HEAD.\n"
    if status != 200:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})


async def lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": message["type"] + ".complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    match scope["type"]:
        case "websocket":
            await websocket(scope, receive, send)
        case "http":
            await http(scope, receive, send)
        case "lifespan":
            await lifespan(receive, send)
        case other:
            raise NotImplementedError(f"scope type {other!r}")
