"""A token stream over server-sent events, the way a language model's answer arrives, with a small page.

    swell examples.sse_tokens:app

Open http://127.0.0.1:8000/, or read the stream itself:

    curl -N 'http://127.0.0.1:8000/stream?prompt=the+sea'

The model is a real one, only tiny: it counts which word follows which two in the text below and draws from the counts.
Every event's id names the seed and the position, so a client that lost its connection says `Last-Event-ID` and the
stream goes on where it broke off. Generation stops as soon as the reader has gone.
"""

import asyncio
import json
import random
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_PROMPT = 200  # characters
MAX_TOKENS = 120  # per answer
MAX_STREAMS = 500  # at once in this process; one more is answered 503
TOKENS_PER_SECOND = 20

PAGE = Path(__file__).with_name("sse_tokens.html").read_bytes()

TEXT = """
A swell is a wave that has left its storm behind . The wind over the open sea makes short steep waves , and the longer
it blows the longer the waves become . When the wind stops the short waves die and the long ones travel on . A long
wave is faster than a short one , so the sea sorts them : the longest swell comes to the shore first , and the shorter
ones follow for days . The water itself does not travel . A boat on the swell goes up and down in a circle and stays
where it was , while the wave goes past . Near the shore the sea is shallow , the wave slows down and grows steep , and
at last the water at the top is faster than the wave and it breaks . A server is like a harbour : the waves come in
sets , and between the sets the sea is calm . A good harbour does not stop the swell , it lets the long waves pass and
gives every boat a place . The boat that waits at the entrance takes its turn , and no boat is lost when the tide goes
out . When the storm is over the harbour is still there , and the sea is as calm as it was before the wind .
"""


class Model:
    """Word trigrams: what came after each pair of words, as often as it came."""

    def __init__(self, text: str) -> None:
        words = text.split()
        self.words = [word.lower() for word in words]
        self.after: dict[tuple[str, str], list[str]] = defaultdict(list)
        for first, second, third in zip(words, words[1:] + words[:1], words[2:] + words[:2], strict=True):
            self.after[first.lower(), second.lower()].append(third)

    def start(self, prompt: str, dice: random.Random) -> int:
        """A place in the text where the prompt's last known word stands, or else any beginning of a sentence."""
        for word in reversed(prompt.lower().split()):
            if places := [place for place, known in enumerate(self.words) if known == word]:
                return dice.choice(places)
        return dice.choice([place for place, known in enumerate(self.words) if known == "."])

    def tokens(self, prompt: str, seed: int) -> Iterator[str]:
        """The answer to `prompt`; the same seed gives the same answer."""
        dice = random.Random(seed)
        place = self.start(prompt, dice)
        first, second = self.words[place - 1], self.words[place]
        word, start_of_sentence, produced = second, True, 0
        while produced < MAX_TOKENS:
            if word not in ".,:":
                yield (" " if produced else "") + (word.capitalize() if start_of_sentence else word)
                produced += 1
            elif not start_of_sentence:
                yield word
                produced += 1
            start_of_sentence = word == "." or (start_of_sentence and word in ",:")
            if start_of_sentence and produced > MAX_TOKENS * 2 // 3:
                return
            word = dice.choice(self.after[first, second])
            first, second = second, word.lower()


model = Model(TEXT)
streams = 0


def resume_point(scope: Message) -> tuple[int, int]:
    """Seed and number of tokens already received, from the `Last-Event-ID` header; a new seed without one."""
    with suppress(ValueError):
        for name, value in scope["headers"]:
            if name == b"last-event-id":
                seed, received = value.decode("ascii")[:32].split(":")
                return int(seed), int(received)
    return secrets.randbelow(2**32), 0


async def gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def generate(scope: Message, prompt: str, send: Send) -> None:
    seed, received = resume_point(scope)
    number = 0
    for number, token in enumerate(model.tokens(prompt, seed), start=1):
        if number > received:
            await send({"type": "http.response.body", "body": event(token, f"{seed}:{number}"), "more_body": True})
            await asyncio.sleep(1 / TOKENS_PER_SECOND)
    done = b"event: done\ndata: %d\n\n" % number
    await send({"type": "http.response.body", "body": done})


def event(token: str, identifier: str) -> bytes:
    return f"id: {identifier}\ndata: {json.dumps(token)}\n\n".encode()


async def stream(scope: Message, receive: Receive, send: Send) -> None:
    """Generate until the answer is complete or the reader has gone, whichever comes first."""
    global streams
    prompt = parse_qs(scope["query_string"].decode("latin-1")).get("prompt", [""])[0]
    if len(prompt) > MAX_PROMPT:
        await answer(send, 413, f"The prompt is longer than {MAX_PROMPT} characters.\n".encode())
        return
    if streams >= MAX_STREAMS:
        await answer(send, 503, b"Too many streams, try again soon.\n", (b"retry-after", b"5"))
        return
    streams += 1
    try:
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": True})
        racers = {asyncio.ensure_future(generate(scope, prompt, send)), asyncio.ensure_future(gone(receive))}
        try:
            done, _ = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
            for racer in done:
                racer.result()
        finally:
            for racer in racers:
                racer.cancel()
            await asyncio.gather(*racers, return_exceptions=True)
    except OSError:
        pass  # the reader left while a token was on its way
    finally:
        streams -= 1


async def answer(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes], kind: bytes = b"text/plain") -> None:
    headers = [(b"content-type", kind + b"; charset=utf-8"), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": message["type"] + ".complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})  # before the handshake: the server answers 403
    elif scope["method"] != "GET":
        await answer(send, 405, b"Only GET.\n", (b"allow", b"GET"))
    elif scope["path"] == "/stream":
        await stream(scope, receive, send)
    elif scope["path"] == "/":
        await answer(send, 200, PAGE, kind=b"text/html")
    else:
        await answer(send, 404, b"Not here. The page is at / and the stream at /stream\n")
