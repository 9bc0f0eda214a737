"""Requests on the scoreboard by method, status and route, and where the route comes from."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from support.apps import answer, body, start
from support.inprocess import App, Backend, InProcess, Receive, Scope, Send, serving, wait_until

from swell._core import DURATION_BOUNDS, Engine, Scoreboard
from swell.worker import server as worker

BACKENDS = [Backend("asyncio"), Backend("uvloop", loop="uvloop")]
Kind = tuple[str, str, str, int, str]


@pytest.fixture
def board(tmp_path: Path) -> Scoreboard:
    return Scoreboard.create(tmp_path / "board", 2)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def serve(request: pytest.FixtureRequest, board: Scoreboard, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def run(app: App, scenario: Callable[[InProcess], Coroutine[Any, Any, Any]], **options: Any) -> Any:
        monkeypatch.setattr(worker, "Engine", lambda *given, **more: Engine(*given, board=board, slot=1, **more))
        return serving(request.param, app, scenario, **options)

    return run


def counted(board: Scoreboard) -> dict[Kind, int]:
    return {kind: sum(counters) for kind, counters, _ in board.requests(1)}


async def wait_counted(board: Scoreboard, expected: dict[Kind, int]) -> None:
    await wait_until(lambda: sum(counted(board).values()) >= sum(expected.values()))
    assert counted(board) == expected


async def routed(scope: Scope, receive: Receive, send: Send) -> None:
    """The path says what to do; the last part of it is the status."""
    *_, how, status = scope["path"].split("/")
    scope["route"] = f"/{how}/{{status}}"
    if how == "later":
        await asyncio.sleep(0)
    if how == "raise":
        raise ValueError("a 500")
    await send(start(int(status)))
    if how == "stream":
        await send(body(b"a", more=True))
        await asyncio.sleep(0.03)
    await send(body())


def test_requests_are_told_apart(board: Scoreboard, serve: Callable[..., Any]) -> None:
    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "ValueError|exception in the ASGI application")
        async with server.connect() as client:
            for target in ("/now/200", "/now/200", "/now/404", "/later/200", "/stream/200"):
                await client.get(target)
            for method in ("POST", "DELETE", "BREW"):
                await client.request("/now/204", method)
                await client.response()
            await client.get("/raise/200")
        get = ("GET", "http", "1.1")
        expected: dict[Kind, int] = {
            (*get, 200, "/now/{status}"): 2,
            (*get, 404, "/now/{status}"): 1,
            (*get, 200, "/later/{status}"): 1,
            (*get, 200, "/stream/{status}"): 1,
            ("POST", "http", "1.1", 204, "/now/{status}"): 1,
            ("DELETE", "http", "1.1", 204, "/now/{status}"): 1,
            ("_OTHER", "http", "1.1", 204, "/now/{status}"): 1,
            (*get, 500, "/raise/{status}"): 1,
        }
        await wait_counted(board, expected)
        durations = {kind: (counters, sum_ns) for kind, counters, sum_ns in board.requests(1)}
        counters, sum_ns = durations[(*get, 200, "/stream/{status}")]
        at = next(at for at, count in enumerate(counters) if count)
        assert len(counters) == len(DURATION_BOUNDS) + 1
        assert DURATION_BOUNDS[at - 1] < sum_ns / 1e9
        assert sum_ns >= 25e6

    serve(routed, scenario)


def test_a_late_failure_and_a_time_out_have_their_route(board: Scoreboard, serve: Callable[..., Any]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = scope["path"]
        await asyncio.sleep(0)
        if scope["path"] == "/raise":
            raise ValueError("a 500")
        await asyncio.Event().wait()

    async def scenario(server: InProcess) -> None:
        server.log.expect(40, "ValueError|exception in the ASGI application")
        server.log.expect(40, "504")
        for path, status in (("/raise", 500), ("/hang", 504)):
            async with server.connect() as client:
                assert (await client.get(path)).status == status
        get = ("GET", "http", "1.1")
        await wait_counted(board, {(*get, 500, "/raise"): 1, (*get, 504, "/hang"): 1})

    serve(app, scenario, timeout_request=0.2)


def test_the_scope_may_say_anything(board: Scoreboard, serve: Callable[..., Any]) -> None:
    class Odd:
        @property
        def path_format(self) -> str:
            raise RuntimeError("not for you")

    values: list[Any] = [Odd(), 7, None, b"/bytes", "/" + "x" * 400, "\udcff", object()]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = values.pop()
        scope["root_path"] = scope["http_version"] = scope["scheme"] = 7
        await answer(send)

    async def scenario(server: InProcess) -> None:
        number = len(values)
        async with server.connect() as client:
            for _ in range(number):
                assert (await client.get("/")).status == 200
        await wait_counted(
            board, {("GET", "http", "1.1", 200, ""): number - 1, ("GET", "http", "1.1", 200, "/" + "x" * 167): 1}
        )

    serve(app, scenario)


@pytest.mark.parametrize("pause", [False, True])
def test_scheme_and_version_are_those_of_the_request(board: Scoreboard, serve: Callable[..., Any], pause: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if pause:
            await asyncio.sleep(0)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            await client.get("/")
            for scheme in (b"https", b"https", b"http"):
                await client.request("/", fields=[(b"x-forwarded-proto", scheme)])
                await client.response()
            await client.get("/")
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            await client.response()
        get = ("GET", "http")
        expected: dict[Kind, int] = {
            (*get, "1.1", 200, ""): 3,
            ("GET", "https", "1.1", 200, ""): 2,
            (*get, "1.0", 200, ""): 1,
        }
        await wait_counted(board, expected)

    serve(app, scenario, forwarded_allow_ips=["127.0.0.1"])


def test_routes_beyond_the_bound_share_a_label(board: Scoreboard, serve: Callable[..., Any]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = scope["path"]
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for number in range(100):
                await client.get(f"/{number}")
        await wait_until(lambda: sum(counted(board).values()) == 100)
        seen = counted(board)
        assert len(seen) == 65
        assert seen[("GET", "http", "1.1", 200, "_OTHER")] == 36

    serve(app, scenario)


def of_starlette() -> App:
    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse("x")

    nested = Mount("/shops/{shop}", routes=[Route("/items/{item}", endpoint)])
    return Starlette(routes=[nested, Route("/plain/{name}", endpoint)])


def of_fastapi() -> App:
    router = APIRouter(prefix="/v1")

    @router.get("/items/{item}")
    async def item(item: int) -> int:
        return item

    app, inner = FastAPI(), FastAPI()
    app.include_router(router, prefix="/api")
    inner.include_router(router)
    app.mount("/inner", inner)
    return app


def of_litestar() -> Any:
    @get("/items/{item:int}", sync_to_thread=False)
    def item() -> str:
        return "x"

    return Litestar([item], openapi_config=None)


@pytest.mark.parametrize(
    ("make", "paths"),
    [
        (of_starlette, {"/shops/7/items/3": "/shops/{shop}/items/{item}", "/plain/x": "/plain/{name}", "/no": ""}),
        (of_fastapi, {"/api/v1/items/3": "/api/v1/items/{item}", "/inner/v1/items/3": "/inner/v1/items/{item}"}),
        (of_litestar, {"/items/3": "/items/{item}", "/no": ""}),
    ],
    ids=["starlette", "fastapi", "litestar"],
)  # fmt: skip
def test_the_routes_of_frameworks(
    board: Scoreboard, serve: Callable[..., Any], make: Callable[[], App], paths: dict[str, str]
) -> None:
    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for path in paths:
                await client.get(path)
        await wait_until(lambda: sum(counted(board).values()) == len(paths))
        routes = [re.sub(r":\w+", "", route) for *_, route in counted(board)]
        assert sorted(routes) == sorted(paths.values())

    serve(make(), scenario)
