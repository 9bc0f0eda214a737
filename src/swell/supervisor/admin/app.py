"""The admin application: paths to answers.

    GET  /livez /readyz /startupz   200 or 503, with a JSON document that says why
    GET  /metrics                   OpenMetrics or the Prometheus text format
    GET  /api/openapi.json          what there is below /api/
    GET  /api/status …  POST /api/scale …   the commands of the control socket, see `control.app`
    POST /api/session               {"token": …}: a cookie for the page
    GET  /api/events                the live data of the page, see `feed`
    GET  /api/flame?profile=N       a profile as a page, see `insight`
    GET  / and /static/…            the page

On the control socket the commands are also where they have always been, below /v1/. Knows no sockets; `guard` says who
may do what. Every answer forbids caches, frames and guesses at its type.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from swell.dashboard import INDEX, file_of
from swell.supervisor.admin import health
from swell.supervisor.admin.feed import Feed
from swell.supervisor.admin.guard import COOKIE, Guard, Purpose
from swell.supervisor.admin.openapi import description
from swell.supervisor.control.app import ROUTES, ClientLeft, ControlApplication, read_whole
from swell.supervisor.control.problem import Problem
from swell.supervisor.control.protocol import Instance
from swell.supervisor.control.requests import bad_request, read_body, read_query
from swell.telemetry.metrics import Snapshot, all_families, expose, negotiate
from swell.worker.asgi import Message, Receive, Scope, Send

__all__ = ["AdminApplication"]

_EVERYWHERE = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]
_POLICY = (
    b"content-security-policy",
    b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
)
_COMMON = [*_EVERYWHERE, _POLICY]
# A flame graph is one file with its script inside. The sandbox makes it nobody's page: what a function is called could
# at worst draw something else, not ask this server.
_FLAME_POLICY = (
    b"content-security-policy",
    b"sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    b" frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
)
_LINKS = ("/", "/livez", "/readyz", "/startupz", "/metrics", "/api/status", "/api/explain", "/api/openapi.json")

Headers = dict[str, str]
# Status, content type, body, further fields.
Answer = tuple[HTTPStatus, str, bytes, Mapping[str, str]]


class AdminApplication:
    """`snapshot` is what is measured now, `patience` the parent's with a worker whose loop stands still, in seconds;
    `feed` is shared by all the applications of an instance."""

    def __init__(
        self,
        instance: Instance,
        snapshot: Callable[[], Snapshot],
        guard: Guard,
        patience: float | None,
        feed: Feed | None = None,
    ) -> None:
        self._insight = instance.insight
        self._snapshot = snapshot
        self._guard = guard
        self._patience = patience
        self._feed = feed or Feed(instance, snapshot)
        self._api = ControlApplication(instance, "/api/")
        self._control = ControlApplication(instance) if guard.is_owner else None
        self._answers: Mapping[str, Callable[[Headers], Answer]] = {
            "/livez": lambda _: _judged(health.live(snapshot(), patience)),
            "/readyz": lambda _: _judged(health.ready(snapshot())),
            "/startupz": lambda _: _judged(health.started(snapshot())),
            "/metrics": self._metrics,
            "/api/openapi.json": lambda _: _json(HTTPStatus.OK, description()),
            "/": lambda _: _file(INDEX),
        }

    @property
    def running(self) -> set[asyncio.Task[Any]]:
        """The commands that have begun and not ended."""
        return {*self._api.running, *(() if self._control is None else self._control.running)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted: 403
            return
        path = scope["path"]
        if self._control is not None and path.startswith("/v1/"):
            await self._control(scope, receive, send)
            return
        headers = _headers(scope["headers"])
        try:
            tls = scope.get("extensions", {}).get("tls")
            self._guard.check(_purpose(scope["method"], path), headers, tls)
            if path == "/api/session":
                answer = await self._session(scope, receive, headers)
            elif path in self._answers:
                _only(scope, "GET", "HEAD")
                answer = self._answers[path](headers)
            elif path.startswith("/static/"):
                _only(scope, "GET", "HEAD")
                answer = _file(path.removeprefix("/static/"))
            elif path == "/api/flame":
                _only(scope, "GET")
                page = self._flame(scope["query_string"])
                await _send(send, (HTTPStatus.OK, "text/html; charset=utf-8", page, {}), [*_EVERYWHERE, _FLAME_POLICY])
                return
            elif path == "/api/events":
                _only(scope, "GET")
                await self._feed.serve(receive, send, _COMMON, self._access)
                return
            elif path.startswith("/api/"):
                await self._api(scope, receive, _with_common(send))
                return
            else:
                raise Problem(HTTPStatus.NOT_FOUND, f"there is no {path[:64]}: there are {', '.join(_LINKS)}")
        except Problem as problem:
            body = json.dumps(problem.document()).encode() + b"\n"
            answer = problem.status, "application/problem+json", body, problem.headers
        except ClientLeft:
            return
        await _send(send, answer)

    def _metrics(self, headers: Headers) -> Answer:
        content_type = negotiate(headers.get("accept", ""))
        return HTTPStatus.OK, content_type, expose(all_families(self._snapshot()), content_type), {}

    def _flame(self, query: bytes) -> bytes:
        word = read_query(query, ("profile",)).get("profile", "")
        page = self._insight.flame(int(word)) if word.isascii() and word.isdigit() and len(word) < 9 else None
        if page is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"there is no profile {word[:16]}: only the latest ones are kept")
        return page.encode("utf-8", "backslashreplace")

    @property
    def _access(self) -> dict[str, bool]:
        """What the page is to know of what it may do."""
        guard = self._guard
        return {"read_only": guard.read_only and not guard.is_owner}

    async def _session(self, scope: Scope, receive: Receive, headers: Headers) -> Answer:
        _only(scope, "POST")
        values = read_body(await read_whole(receive), headers.get("content-type", ""), ("token",))
        token = values.get("token")
        if not isinstance(token, str):
            raise bad_request('say {"token": "…"}, with what is in the file of --admin-token-file')
        secure = "; Secure" if scope["scheme"] == "https" else ""
        cookie = f"{COOKIE}={self._guard.session(token)}; HttpOnly; SameSite=Strict; Path=/{secure}"
        status, kind, body, _ = _json(HTTPStatus.OK, {"text": "signed in"})
        return status, kind, body, {"set-cookie": cookie}


def _purpose(method: str, path: str) -> Purpose:
    if path in ("/livez", "/readyz", "/startupz"):
        return Purpose.PROBE
    if path == "/api/session":
        return Purpose.SIGN_IN
    if method in ("GET", "HEAD") and (path == "/" or path.startswith("/static/")):
        return Purpose.PAGE
    route = ROUTES.get(path.removeprefix("/api/"))
    # What changes something is never done by GET, so the method decides, and the route once more.
    changes = method not in ("GET", "HEAD") or (route is not None and route.method != "GET")
    return Purpose.CHANGE if changes else Purpose.READ


def _only(scope: Scope, *methods: str) -> None:
    if scope["method"] not in methods:
        text = f"{scope['path'][:64]} takes {' and '.join(methods)}, not {scope['method']}"
        raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, text, {"allow": ", ".join(methods)})


def _file(name: str) -> Answer:
    found = file_of(name)
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"the page has no file {name[:64]}")
    return HTTPStatus.OK, found.content_type, found.body, {}


def _headers(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    found: Headers = {}
    for name, value in fields:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _judged(judgement: tuple[bool, dict[str, Any]]) -> Answer:
    fine, document = judgement
    return _json(HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE, document)


def _json(status: HTTPStatus, document: Mapping[str, Any]) -> Answer:
    return status, "application/json", json.dumps(document).encode() + b"\n", {}


def _with_common(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            others = [field for field in message["headers"] if field[0] != b"cache-control"]
            message = {**message, "headers": [*others, *_COMMON]}
        await send(message)

    return sending


async def _send(send: Send, answer: Answer, common: Iterable[tuple[bytes, bytes]] = _COMMON) -> None:
    status, kind, body, more = answer
    fields = [(b"content-type", kind.encode()), *common]
    fields += [(name.encode(), value.encode()) for name, value in more.items()]
    with contextlib.suppress(OSError):  # who asked has left
        await send({"type": "http.response.start", "status": int(status), "headers": fields})
        await send({"type": "http.response.body", "body": body})
