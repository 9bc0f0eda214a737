"""WebSocket frames by hand, right and wrong ones: the client's side of a raw connection. RFC 6455 §5."""

from __future__ import annotations

import contextlib
import random
import zlib
from dataclasses import dataclass

from support.raw import Connection, Response

__all__ = ["Frame", "close", "deflated", "frame", "handshake", "open_websocket", "read_frame", "wait_for_close"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3


@dataclass
class Frame:
    opcode: int
    payload: bytes
    fin: bool
    rsv: int

    @property
    def code(self) -> int | None:
        """The code of a close frame."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


# The same in every run, so that cases have the same names in every process.
MASKS = random.Random(6455)


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    announced: int | None = None,
    wide: int = 0,
) -> bytes:
    """A frame. `announced` is a length that need not be true; `wide` forces 2 or 8 bytes of length."""
    length = len(payload) if announced is None else announced
    head = bytes([fin << 7 | rsv << 4 | opcode])
    mask_bit = masked << 7
    if wide == 8 or (not wide and length > 0xFFFF):
        head += bytes([mask_bit | 127]) + length.to_bytes(8, "big")
    elif wide == 2 or length > 125:
        head += bytes([mask_bit | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([mask_bit | length])
    if not masked:
        return head + payload
    mask = MASKS.randbytes(4)
    keys = (mask * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")
    return head + mask + mixed.to_bytes(len(payload), "big")


def close(code: int = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def deflated(data: bytes) -> bytes:
    """A message as permessage-deflate sends it, without context. RFC 7692 §7.2.1."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def handshake(path: str = "/ws", *fields: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: a.example", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}", *fields]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def open_websocket(connection: Connection, path: str = "/ws", *fields: str) -> Response:
    connection.send(handshake(path, *fields))
    response = connection.response()
    assert response.status == 101, response
    assert response.get(b"sec-websocket-accept") == ACCEPT
    return response


def read_frame(connection: Connection) -> Frame:
    first, second = connection.take(2)
    assert not second & 0x80, "servers do not mask"
    length = second & 0x7F
    if length == 126:
        length = int.from_bytes(connection.take(2), "big")
        assert length > 125, "not the shortest form"
    elif length == 127:
        length = int.from_bytes(connection.take(8), "big")
        assert length > 0xFFFF, "not the shortest form"
    opcode, fin = first & 0xF, bool(first & 0x80)
    assert fin or opcode < 8
    assert opcode < 8 or length <= 125
    found = Frame(opcode, connection.take(length), fin, first >> 4 & 7)
    if opcode == CLOSE:
        assert len(found.payload) != 1
        # These stand for something that was not received and are never sent. RFC 6455 §7.4.1.
        assert found.code not in (1004, 1005, 1006, 1015)
        found.payload[2:].decode()
    return found


def wait_for_close(connection: Connection) -> int | None:
    """The code of the server's close frame; the connection ends behind it, once we have answered."""
    while (found := read_frame(connection)).opcode != CLOSE:
        pass
    with contextlib.suppress(OSError):
        connection.send(close(found.code or 1000))
    connection.wait_closed()
    return found.code
