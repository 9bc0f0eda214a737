"""What an application does to one scope must not be seen in another: not on this connection, not on the next.

One thing is shared: the empty dict that stands for an extension's parameters. There is nothing in it to change, and
four more dicts for every request would cost more than they are worth.
"""

from collections.abc import Callable
from typing import Any

import pytest
from support.apps import answer
from support.inprocess import Backend, InProcess, Receive, Scope, Send, serving

REQUESTS = 4


def spoil(value: Any) -> None:
    """Change everything that can be changed, at every depth."""
    if isinstance(value, dict):
        for key in list(value):
            if value[key] != {}:
                spoil(value[key])
            value[key] = "spoilt"
        value["new"] = "spoilt"
    elif isinstance(value, list):
        for item in value:
            spoil(item)
        value.append((b"new", b"spoilt"))


def fields(scope: Scope) -> dict[str, Any]:
    return {key: scope[key] for key in scope if key != "client"}


def test_every_scope_is_fresh_however_deep_the_last_was_changed(backend: Backend) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(repr(fields(scope)))
        spoil(scope)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        for _ in range(2):
            async with server.connect() as client:
                for _ in range(REQUESTS):
                    await client.get("/path?query", fields=[(b"accept", b"*/*"), (b"cookie", b"a=1")])

    serving(backend, app, scenario)
    assert len(seen) == 2 * REQUESTS
    assert len(set(seen)) == 1, seen


#: One change each: every single one must be noticed.
CHANGES: dict[str, Callable[[Any], object]] = {
    "a value": lambda scope: scope.update(path="/spoilt"),
    "another key": lambda scope: scope.update(new="spoilt"),
    "a key less": lambda scope: scope.pop("scheme"),
    "a key and back, at the end": lambda scope: scope.update(method=scope.pop("method")),
    "emptied": lambda scope: scope.clear(),
    "another list": lambda scope: scope.update(headers=[]),
    "a header more": lambda scope: scope["headers"].append((b"new", b"spoilt")),
    "a header less": lambda scope: scope["headers"].pop(),
    "a header changed": lambda scope: scope["headers"].__setitem__(0, (b"new", b"spoilt")),
    "headers in another order": lambda scope: scope["headers"].reverse(),
    "asgi": lambda scope: scope["asgi"].update(version="spoilt"),
    "extensions": lambda scope: scope["extensions"].pop("http.response.pathsend"),
    "state": lambda scope: scope["state"].update(new="spoilt"),
    "a value of the state": lambda scope: scope["state"].update(by_startup="spoilt"),
}


async def run_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    scope["state"]["by_startup"] = "yes"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.parametrize("change", CHANGES)
def test_a_single_change_is_not_seen_by_the_next_request(backend: Backend, change: str) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(scope, receive, send)
            return
        seen.append(repr(fields(scope)))
        if len(seen) % 4 == 0:
            CHANGES[change](scope)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for _ in range(12):
                await client.get("/path?query", fields=[(b"accept", b"*/*"), (b"cookie", b"a=1")])

    serving(backend, app, scenario, lifespan="on")
    assert len(seen) == 12
    assert len(set(seen)) == 1, seen


@pytest.mark.parametrize("part", ["all", "headers", "asgi", "extensions", "state"])
def test_what_an_application_holds_on_to_stays_its_own(backend: Backend, part: str) -> None:
    held: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(scope, receive, send)
            return
        value = scope if part == "all" else scope[part]
        assert all(value is not other for other in held)
        if scope["path"] == "/hold":
            held.append(value)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for target in ("/free", "/free", "/free", "/hold", "/hold", "/hold", "/hold", "/free", "/free"):
                await client.get(target)
        for value in held:
            spoil(value)
        async with server.connect() as client:
            for _ in range(3):
                await client.get("/hold")
        assert all("spoilt" in repr(value) for value in held[:4])
        assert "spoilt" not in repr(held[4:])

    serving(backend, app, scenario, lifespan="on")
    assert len(held) == 7


def test_a_state_that_changes_while_serving_reaches_the_next_request(backend: Backend) -> None:
    lifespans: list[Any] = []
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            lifespans.append(scope["state"])
            await run_lifespan(scope, receive, send)
            return
        seen.append(scope["state"].get("counter"))
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for number in range(6):
                await client.get()
                if number % 2:
                    lifespans[0]["counter"] = number

    serving(backend, app, scenario, lifespan="on")
    assert seen == [None, None, 1, 1, 3, 3]


def test_scopes_of_simultaneous_requests_share_nothing_mutable(backend: Backend) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await answer(send)

    async def scenario(server: InProcess) -> None:
        async with server.connect() as one, server.connect() as two:
            for client in (one, one, two):
                await client.get()

    def mutable(value: Any) -> set[int]:
        if value == {}:
            return set()
        if isinstance(value, dict):
            return {id(value)}.union(*map(mutable, value.values()))
        if isinstance(value, list):
            return {id(value)}.union(*map(mutable, value))
        return set()

    serving(backend, app, scenario)
    first, second, third = map(mutable, scopes)
    assert not first & second
    assert not first & third
    assert not second & third


def test_a_request_that_repeats_the_last_one_partly_gets_its_own_values(backend: Backend) -> None:
    seen: list[tuple[str, bytes, list[tuple[bytes, bytes]]]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["path"], scope["query_string"], list(scope["headers"])))
        await answer(send)

    base = [(b"accept", b"*/*"), (b"user-agent", b"test"), (b"cookie", b"a=1")]
    variants = [
        ("/a", base),
        ("/a", base),
        ("/b?q=1", base),
        ("/b?q=2", base[:2]),
        ("/b?q=2", [*base[:2], (b"cookie", b"a=2")]),
        ("/b?q=2", [*base, (b"x-new", b"1")]),
        ("/b?q=2", list(reversed(base))),
        ("/b", [(b"accepT", b"*/*"), *base[1:]]),
        ("/", []),
        ("/a", base),
    ]

    async def scenario(server: InProcess) -> None:
        async with server.connect() as client:
            for target, extra in variants:
                await client.get(target, fields=extra)

    serving(backend, app, scenario)
    assert seen == [
        (
            target.partition("?")[0],
            target.partition("?")[2].encode(),
            [(b"host", b"test"), *((name.lower(), value) for name, value in extra)],
        )
        for target, extra in variants
    ]
