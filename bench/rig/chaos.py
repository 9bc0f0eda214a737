"""Badly behaved, slow and leaving clients for the soak, chosen at random from a seed.

Some walk away at random points: the server has to survive that, nothing is expected of it. Others are slow but
correct: each of their requests has to be answered in full, and one that is not is counted as lost. Plain sockets,
`asyncio`, no HTTP library. Called by `soak.py`.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable

LIMIT_SECONDS = 20.0
HELLO = b"Hello, World!"
STREAM_BYTES = 102_400
WS_HANDSHAKE = (
    b"GET /ws/echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class LostError(Exception):
    """A correct request did not get its answer."""


class Client:
    """One connection with everything a behaviour needs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dice: random.Random) -> None:
        self.reader = reader
        self.writer = writer
        self.dice = dice

    def abort(self) -> None:
        """Reset the connection instead of closing it."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def write_slowly(self, data: bytes, pieces: int) -> None:
        """Send in about `pieces` pieces with pauses: the pauses are what makes this client slow."""
        size = max(len(data) // pieces, 1)
        for start in range(0, len(data), size):
            self.writer.write(data[start : start + size])
            await self.writer.drain()
            await asyncio.sleep(self.dice.uniform(0, 0.04))

    async def read_response(self, slowly: bool = False) -> bytes:
        """Read a whole response with a length or in chunks; anything else is lost."""
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 200"):
                raise LostError(f"answer {head[:60]!r}")
            if b"\r\ncontent-length:" in head:
                length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
                return await self.reader.readexactly(length)
            body = b""
            while True:
                size = int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16)
                body += (await self.reader.readexactly(size + 2))[:-2]
                if size == 0:
                    return body
                if slowly:
                    await asyncio.sleep(0.002)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise LostError(f"cut off: {error!r}") from None

    def frame(self, opcode: int, payload: bytes) -> bytes:
        """A masked frame of at most 125 bytes (RFC 6455 §5.2)."""
        key = self.dice.randbytes(4)
        masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
        return bytes([0x80 | opcode, 0x80 | len(payload)]) + key + masked


def get(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode()


def post(body: bytes) -> bytes:
    """A request that wants its body back."""
    return f"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def leave_at_once(client: Client) -> None:
    """Connect and go, by FIN or by RST."""
    if client.dice.random() < 0.5:
        client.abort()


async def leave_in_request(client: Client) -> None:
    """Send a random part of a request, then go."""
    request = client.dice.choice([get("/"), get("/stream"), post(client.dice.randbytes(20_000)), WS_HANDSHAKE])
    client.writer.write(request[: client.dice.randrange(1, len(request))])
    await client.writer.drain()
    if client.dice.random() < 0.5:
        client.abort()


async def leave_in_response(client: Client) -> None:
    """Ask, read a random part of the answer, then reset."""
    client.writer.write(get(client.dice.choice(["/", "/10k", "/stream", "/later", "/suspend"])) * 3)
    await client.writer.drain()
    if client.dice.random() < 0.7:
        await client.reader.read(client.dice.randrange(1, 5000))
    client.abort()


async def send_nonsense(client: Client) -> None:
    """Send bytes that are no request; the server answers 400, or closes."""
    client.writer.write(client.dice.randbytes(client.dice.randrange(1, 300)) + b"\r\n\r\n")
    await client.writer.drain()
    client.writer.write_eof()
    await client.reader.read()


async def ask_slowly(client: Client) -> None:
    """Several requests on one connection, each sent in small pieces."""
    for _ in range(client.dice.randrange(1, 4)):
        await client.write_slowly(get("/"), 12)
        if await client.read_response() != HELLO:
            raise LostError("wrong body for a slow request")


async def upload_slowly(client: Client) -> None:
    """A body that arrives in pieces and has to come back as it was."""
    body = client.dice.randbytes(client.dice.randrange(1, 60_000))
    await client.write_slowly(post(body), 10)
    if await client.read_response() != body:
        raise LostError("wrong body for a slow upload")


async def read_slowly(client: Client) -> None:
    """A streamed response read with pauses."""
    client.writer.write(get("/stream"))
    if len(await client.read_response(slowly=True)) != STREAM_BYTES:
        raise LostError("wrong body for a slow reader")


async def chat(client: Client) -> None:
    """A WebSocket that exchanges some messages, then closes properly, leaves or resets."""
    client.writer.write(WS_HANDSHAKE)
    try:
        head = await client.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise LostError(f"handshake answered with {head[:40]!r}")
        for _ in range(client.dice.randrange(0, 20)):
            text = client.dice.randbytes(client.dice.randrange(1, 50)).hex().encode()
            client.writer.write(client.frame(0x1, text))
            first, length = await client.reader.readexactly(2)
            if first != 0x81 or await client.reader.readexactly(length) != text:
                raise LostError("wrong echo")
        ending = client.dice.random()
        if ending < 0.4:
            client.writer.write(client.frame(0x8, struct.pack("!H", 1000)))
            first, length = await client.reader.readexactly(2)
            if first != 0x88:
                raise LostError("no close frame in answer to ours")
            await client.reader.readexactly(length)
        elif ending < 0.7:
            client.abort()
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise LostError(f"WebSocket cut off: {error!r}") from None


Behaviour = Callable[[Client], Awaitable[None]]
LEAVING: tuple[Behaviour, ...] = (leave_at_once, leave_in_request, leave_in_response, send_nonsense)
CORRECT: tuple[Behaviour, ...] = (ask_slowly, upload_slowly, read_slowly)


class Crowd:
    """Clients that come and go until told to stop. `done` counts behaviours, `lost` the reasons of lost requests."""

    def __init__(self, host: str, port: int, seed: int, websockets: bool) -> None:
        self._host = host
        self._port = port
        self._seed = seed
        self._choices = LEAVING + CORRECT + ((chat, chat) if websockets else ())
        self.done: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    async def run(self, members: int, stop: asyncio.Event) -> None:
        """Keep `members` clients busy until `stop` is set; each one ends its last connection first."""
        async with asyncio.TaskGroup() as group:
            for number in range(members):
                group.create_task(self._member(random.Random(self._seed * 1000 + number), stop))

    async def _member(self, dice: random.Random, stop: asyncio.Event) -> None:
        while not stop.is_set():
            behaviour = dice.choice(self._choices)
            name = getattr(behaviour, "__name__", "?")
            try:
                async with asyncio.timeout(LIMIT_SECONDS):
                    await self._connection(behaviour, dice)
            except LostError as error:
                self.lost[f"{name}: {error}"] += 1
            except TimeoutError:
                self.lost[f"{name}: no end within {LIMIT_SECONDS:.0f} s"] += 1
            except OSError as error:
                # Who leaves, or talks nonsense, may be reset; who behaves may not.
                if behaviour not in LEAVING:
                    self.lost[f"{name}: {error!r}"] += 1
            self.done[name] += 1

    async def _connection(self, behaviour: Behaviour, dice: random.Random) -> None:
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            raise LostError(f"cannot connect: {error!r}") from None
        try:
            await behaviour(Client(reader, writer, dice))
        finally:
            writer.close()
