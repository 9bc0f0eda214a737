"""A worker process as the tests of hand-off want it: an asyncio loop, an engine, and commands on standard input.

Started with one argument, a JSON object (see `support.fleet`). Says {"ready": true} when it serves, then one line per
command and one per report of the engine.
"""

import asyncio
import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

from swell import Config
from swell._core import Engine, Scoreboard
from swell.worker.settings import EngineSettings


def say(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def application(slot: int) -> Callable[[Any, Any, Any], Awaitable[None]]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        # /50/10 holds the loop for 50 ms in worker 0 and for 10 ms in the others.
        times = [int(part) / 1000 for part in scope["path"].split("/") if part]
        if times and (seconds := times[0 if slot == 0 else -1]):
            time.sleep(seconds)  # noqa: ASYNC251 - that is the point
        facts = {"slot": slot, "client": scope["client"], "server": scope["server"]}
        body = json.dumps(facts).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def exhaust() -> list[int]:
    """Leaves the process no descriptor to open."""
    taken: list[int] = []
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.dup(0))
    return taken


async def main(given: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    slot = given["slot"]
    options = {"lifespan": "off", "access_log": False, **given["options"]}
    app = application(slot)
    engine = Engine(
        EngineSettings.of(Config.make(app, **options)),
        loop,
        app,
        state=None,
        context=copy_context(),
        report=lambda level, text, error: say(level=level, text=text, error=repr(error)),
        board=Scoreboard(given["board"]),
        slot=slot,
        inbox=given["inboxes"][slot][0],
        outboxes=[sender for _, sender in given["inboxes"]],
    )
    for at, listener in enumerate(given["listeners"]):
        engine.listen(listener, accepting=at in given["accept"])
    loop.add_reader(engine.fileno(), engine.turn)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    say(ready=True)
    taken: list[int] = []
    while line := await commands.readline():
        match json.loads(line):
            case {"do": "accept", "indexes": indexes}:
                engine.accept_from(indexes)
                say(done="accept")
            case {"do": "stats"}:
                say(stats=engine.stats(), descriptors=len(os.listdir("/proc/self/fd")))
            case {"do": "exhaust"}:
                taken = exhaust()
                say(done="exhaust")
            case {"do": "release"}:
                while taken:
                    os.close(taken.pop())
                say(done="release")
            case {"do": "drain"}:
                engine.stop_accepting()
                await engine.drain()
                say(done="drain")
    loop.remove_reader(engine.fileno())
    engine.close()


asyncio.run(main(json.loads(sys.argv[1])))
