"""What an application does to one scope must not be seen in another: not on this connection, not on the next.

One thing is shared: the empty dict that stands for an extension's parameters. There is nothing in it to change, and
four more dicts for every request would cost more than they are worth.
"""

from typing import Any

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
