"""The commands as an ASGI application: HTTP and JSON to calls of the `Instance`. Each path begins with a prefix, `/v1/`
on the control socket and `/api/` beside it (`swell.supervisor.admin`).

    GET  /v1/status             the document of `protocol.Status`
    GET  /v1/explain?last=N     the document of `protocol.Explanation`
    GET  /v1/forecast           the load of the last day, its forecast, and the hours ahead
    GET  /v1/dump?worker=N      all stacks of a worker
    GET  /v1/tasks?worker=N     its asyncio tasks
    GET  /v1/logs?level=30      log lines from now on, as JSON lines, for as long as somebody reads
    GET  /v1/health             200 while the instance serves, 503 while it starts or ends
    POST /v1/scale              {"workers": 4}, {"min": 1, "max": 8} or {"by": 1}
    POST /v1/reload             {}
    POST /v1/restart            {"worker": 3}
    POST /v1/profile            {"worker": 3, "seconds": 10, "hz": 100, "memory": false}; answers when it is over
    POST /v1/drain              {}
    POST /v1/stop               {} or {"now": true}

A command runs in a task of its own: once it has begun, it does not matter whether its client still listens. Knows
neither sockets nor who may connect; `server` does. Errors are `Problem`s; those of the instance come as 409.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from swell.config.nearest import nearest
from swell.config.workers import WORKERS_AT_MOST
from swell.supervisor.control.problem import Problem
from swell.supervisor.control.protocol import CommandFailed, Instance, Wanted
from swell.supervisor.control.requests import bad_request, read_body, read_query, whole_number
from swell.worker.asgi import Receive, Scope, Send

__all__ = ["EXPLAIN_AT_MOST", "EXPLAIN_DEFAULT", "ROUTES", "ClientLeft", "ControlApplication", "Route", "read_whole"]

log = logging.getLogger("swell")

# A document, or one that goes on: JSON lines.
Answer = tuple[HTTPStatus, dict[str, Any] | AsyncIterator[bytes]]
Values = Mapping[str, Any]

EXPLAIN_DEFAULT, EXPLAIN_AT_MOST = 20, 1000
PROFILE_SECONDS_AT_MOST = 3600
# A sleeping instance wakes up for the first connection.
_READY = frozenset({"running", "reloading", "sleeping"})


@dataclass(frozen=True, slots=True)
class Route:
    """`names` are the query parameters of a GET, the keys of a POST."""

    method: str
    names: Sequence[str]
    handle: Callable[[Instance, Values], Awaitable[Answer]]
    for_client: bool = False
    """What it does is for nobody else: it ends when its client leaves."""


async def _status(instance: Instance, values: Values) -> Answer:
    return HTTPStatus.OK, instance.status()


async def _explain(instance: Instance, values: Values) -> Answer:
    last = values.get("last", str(EXPLAIN_DEFAULT))
    # isascii: other scripts' digits are digits to Python
    number = int(last) if last.isascii() and last.isdigit() and len(last) < 9 else last
    return HTTPStatus.OK, instance.explain(whole_number({"last": number}, "last", 1, EXPLAIN_AT_MOST))


async def _forecast(instance: Instance, values: Values) -> Answer:
    return HTTPStatus.OK, instance.forecast()


def _worker(values: Values) -> int | None:
    """Which worker a GET means; None: there is only one."""
    word = values.get("worker")
    if word is None:
        return None
    return whole_number({"worker": int(word) if word.isascii() and word.isdigit() else word}, "worker", 0, 2**63 - 1)


async def _dump(instance: Instance, values: Values) -> Answer:
    return HTTPStatus.OK, await instance.insight.dump(_worker(values))


async def _tasks(instance: Instance, values: Values) -> Answer:
    return HTTPStatus.OK, await instance.insight.tasks(_worker(values))


async def _profile(instance: Instance, values: Values) -> Answer:
    worker = whole_number(values, "worker", 0, 2**63 - 1) if "worker" in values else None
    seconds = whole_number({"seconds": 10, **values}, "seconds", 1, PROFILE_SECONDS_AT_MOST)
    hz = whole_number({"hz": 100, **values}, "hz", 1, 1000)
    memory = values.get("memory", False)
    page = values.get("page", False)
    if not isinstance(memory, bool) or not isinstance(page, bool):
        raise bad_request("memory and page must be true or false")
    ask = instance.insight.profile_page if page else instance.insight.profile
    return HTTPStatus.OK, await ask(worker, seconds, hz, memory)


async def _logs(instance: Instance, values: Values) -> Answer:
    return HTTPStatus.OK, instance.insight.logs(
        Wanted(
            statuses=_number(values, "statuses", 255, 255) or 0,
            slower=(_number(values, "slower_ms", 0, 10**9) or 0) / 1000,
            contains=values.get("contains", ""),
            level=_number(values, "level", logging.NOTSET, 1000),
        )
    )


def _number(values: Values, name: str, default: int, most: int) -> int | None:
    """Of a query; None for `off`."""
    word = values.get(name, str(default))
    if word == "off":
        return None
    return whole_number({name: int(word) if word.isascii() and word.isdigit() else word}, name, 0, most)


async def _health(instance: Instance, values: Values) -> Answer:
    state = instance.status()["instance"]["state"]
    ready = state in _READY
    return HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, {"ready": ready, "state": state}


async def _scale(instance: Instance, values: Values) -> Answer:
    keys = set(values)
    if keys == {"workers"}:
        number = whole_number(values, "workers", 0, WORKERS_AT_MOST)
        if number == 0:
            raise bad_request("with 0 workers nobody would be served: min 0 with a max lets it sleep, stop ends it")
        return HTTPStatus.OK, await instance.scale(number, number, None)
    if keys and keys <= {"min", "max"}:
        current = instance.status()["instance"]
        minimum = whole_number(values, "min", 0, WORKERS_AT_MOST) if "min" in keys else None
        maximum = whole_number(values, "max", 1, WORKERS_AT_MOST) if "max" in keys else None
        low = current["min"] if minimum is None else minimum
        high = current["max"] if maximum is None else maximum
        if low > high:
            raise bad_request(f"min {low} is more than max {high}")
        return HTTPStatus.OK, await instance.scale(minimum, maximum, None)
    if keys == {"by"}:
        # Here and not in the client: two who add one worker each add two.
        by = whole_number(values, "by", -WORKERS_AT_MOST, WORKERS_AT_MOST)
        count = instance.status()["instance"]["target"] + by
        if not 1 <= count <= WORKERS_AT_MOST:
            raise Problem(
                HTTPStatus.CONFLICT,
                f"that would make {count} workers, and a number from 1 to {WORKERS_AT_MOST} is possible:"
                " `swell stop` ends the instance, `swell scale 0..N` lets it sleep while it is idle",
            )
        return HTTPStatus.OK, await instance.scale(None, None, count)
    raise bad_request('say either {"workers": 4}, or {"min": 1, "max": 8}, or {"by": 1}')


async def _reload(instance: Instance, values: Values) -> Answer:
    return HTTPStatus.OK, await instance.reload()


async def _restart(instance: Instance, values: Values) -> Answer:
    if "worker" not in values:
        raise bad_request('say which worker: {"worker": 3}, with an id that `swell status` shows')
    number = whole_number(values, "worker", 0, 2**63 - 1)
    known = [worker["id"] for worker in instance.status()["workers"]]
    if number not in known:
        there = f"there are {', '.join(map(str, known))}" if known else "there are none now"
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no worker {number}: {there}")
    return HTTPStatus.OK, await instance.restart(number)


async def _drain(instance: Instance, values: Values) -> Answer:
    return HTTPStatus.ACCEPTED, await instance.drain()


async def _stop(instance: Instance, values: Values) -> Answer:
    now = values.get("now", False)
    if not isinstance(now, bool):
        raise bad_request("now must be true or false")
    return HTTPStatus.ACCEPTED, await instance.stop(now)


ROUTES: Mapping[str, Route] = {
    "status": Route("GET", (), _status),
    "explain": Route("GET", ("last",), _explain),
    "forecast": Route("GET", (), _forecast),
    "dump": Route("GET", ("worker",), _dump),
    "tasks": Route("GET", ("worker",), _tasks),
    "logs": Route("GET", ("statuses", "slower_ms", "contains", "level"), _logs),
    "health": Route("GET", (), _health),
    "scale": Route("POST", ("workers", "min", "max", "by"), _scale),
    "reload": Route("POST", (), _reload),
    "profile": Route("POST", ("worker", "seconds", "hz", "memory", "page"), _profile, for_client=True),
    "restart": Route("POST", ("worker",), _restart),
    "drain": Route("POST", (), _drain),
    "stop": Route("POST", ("now",), _stop),
}


class ControlApplication:
    """`running` are the commands that have begun and not ended."""

    def __init__(self, instance: Instance, prefix: str = "/v1/") -> None:
        self._instance = instance
        self._prefix = prefix
        self.running: set[asyncio.Task[Answer]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted: 403
            return
        headers: dict[str, str] = {}
        try:
            status, document = await self._answer(scope, receive)
            content_type = b"application/json"
        except Problem as problem:
            status, document, headers = problem.status, problem.document(), problem.headers
            content_type = b"application/problem+json"
        except ClientLeft:
            return
        if not isinstance(document, dict):
            await _stream(send, document, scope["method"] == "HEAD")
            return
        body = json.dumps(document).encode() + b"\n"
        fields = [(b"content-type", content_type), (b"cache-control", b"no-store")]
        fields += [(name.encode(), value.encode()) for name, value in headers.items()]
        with contextlib.suppress(OSError):  # who asked has left
            await send({"type": "http.response.start", "status": int(status), "headers": fields})
            await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path = scope["path"]
        route = ROUTES.get(path.removeprefix(self._prefix)) if path.startswith(self._prefix) else None
        if route is None:
            known = [self._prefix + name for name in ROUTES]
            guess = nearest(path, known)
            hint = f"did you mean {guess}?" if guess else f"there are {', '.join(known)}"
            raise Problem(HTTPStatus.NOT_FOUND, f"there is no {path[:64]}: {hint}")
        allowed = ("GET", "HEAD") if route.method == "GET" else (route.method,)
        if scope["method"] not in allowed:
            text = f"{path} takes {' and '.join(allowed)}, not {scope['method']}"
            raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, text, {"allow": ", ".join(allowed)})
        is_query = route.method == "GET"
        values: Values = read_query(scope["query_string"], route.names if is_query else ())
        body = await read_whole(receive)
        if not is_query:
            content_type = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
            values = read_body(body, content_type.decode("latin-1"), route.names)
        return await self._run(path, route.handle(self._instance, values), receive if route.for_client else None)

    async def _run(self, path: str, handling: Awaitable[Answer], receive: Receive | None) -> Answer:
        """Runs a command to its end, whatever becomes of the request; with `receive`, until it says that the client has
        left."""
        task = asyncio.ensure_future(handling)
        self.running.add(task)
        task.add_done_callback(self._ended)
        if receive is not None:
            await _while_heard(task, receive)
        try:
            return await asyncio.shield(task)
        except CommandFailed as error:
            raise Problem(HTTPStatus.CONFLICT, str(error)) from error
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the instance ended before the command did") from None
        except Problem:
            raise
        except Exception as error:
            log.exception("%s failed inside Swell; please report this", path)
            text = "Swell itself made a mistake: its log has a traceback, please report it"
            raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, text) from error

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        self.running.discard(task)
        if not task.cancelled():
            task.exception()  # told to the client, or to nobody if it has left


class ClientLeft(Exception):  # noqa: N818 - it says what happened
    """In the middle of its request, or of an answer that is for nobody else."""


async def _while_heard(task: asyncio.Task[Answer], receive: Receive) -> None:
    """Returns when the task is done; cancels it when the client leaves before that."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    leaving = asyncio.ensure_future(left())
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            raise ClientLeft
    finally:
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving


async def _stream(send: Send, lines: AsyncIterator[bytes], head: bool) -> None:
    """Until it ends, or the client has left, which its next line tells."""
    fields = [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store")]
    async with contextlib.aclosing(cast(AsyncGenerator[bytes], lines)):
        with contextlib.suppress(OSError):
            await send({"type": "http.response.start", "status": 200, "headers": fields})
            if not head:
                async for line in lines:
                    await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def read_whole(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
