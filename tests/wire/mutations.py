"""Bytes that are nearly requests: random changes to the corpus, the same ones for the same seed.

Most changes are made of what framing hangs on (line ends, colons, digits, the names of the framing fields), because
random bytes seldom get past the first rule.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

#: What is inserted and what replaces other bytes.
FRAGMENTS: tuple[bytes, ...] = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\x00", b"\x0b", b"\x0c", b"\x85", b"\xa0", b":",
    b";", b",", b"=", b'"', b"\\", b"0", b"1", b"5", b"a", b"F", b"x", b"+", b"-", b"_", b"/", b"?", b"#", b"%",
    b"*", b"@", b"[::1]", b"0\r\n\r\n", b"5\r\nhello\r\n", b";a=b", b';a="b"', b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"Host: a.example\r\n", b"Host: b.example\r\n", b"Expect: 100-continue\r\n", b"X: y\r\n", b" folded\r\n",
    b"chunked", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"GET ",
    b"GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n", b"POST / HTTP/1.1\r\n", b"http://a.example/",
)  # fmt: skip

#: Inputs longer than this are limits, not grammar; changing them teaches nothing.
LONGEST = 2000


def _insert(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at] + rng.choice(FRAGMENTS) + data[at:]


def _replace(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at] + rng.choice(FRAGMENTS) + data[at + rng.randint(1, 4) :]


def _delete(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at] + data[at + rng.randint(1, 4) :]


def _any_byte(data: bytes, at: int, rng: random.Random) -> bytes:
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _flip_case(data: bytes, at: int, _rng: random.Random) -> bytes:
    return data[:at] + data[at : at + 1].swapcase() + data[at + 1 :]


def _lines(data: bytes, _at: int, rng: random.Random) -> bytes:
    """Doubles, drops or swaps whole lines."""
    lines = data.split(b"\r\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    action = rng.randrange(3)
    if action == 0:
        lines.insert(other, lines[one])
    elif action == 1:
        del lines[one]
    else:
        lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines)


ACTIONS: tuple[Callable[[bytes, int, random.Random], bytes], ...] = (
    _insert, _insert, _replace, _delete, _any_byte, _flip_case, _lines,
)  # fmt: skip


def mutate(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """``count`` changed inputs; each had one to three changes."""
    rng = random.Random(seed)
    short = [data for data in seeds if 0 < len(data) <= LONGEST]
    for _ in range(count):
        data = rng.choice(short)
        for _ in range(rng.randint(1, 3)):
            data = rng.choice(ACTIONS)(data, rng.randrange(len(data) + 1), rng)
        yield data
