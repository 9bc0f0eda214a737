"""The books: every operation, the version check, paging, bounds, and many writers at once."""

import asyncio

import httpx
from apps.running import RunningServer, run_bounded

APP = "examples.crud_fastapi:app"
BOOK = {"title": "The Mirror of the Sea", "author": "Joseph Conrad", "year": 1906}


def test_life_of_a_book(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as client:
        created = client.post("/books", json=BOOK)
        assert created.status_code == 201
        where, book = created.headers["location"], created.json()
        assert book == {**BOOK, "id": book["id"], "version": 1}
        assert client.get(where).json() == book

        changed = client.put(where, json={**BOOK, "year": 1907, "version": 1})
        assert (changed.status_code, changed.json()) == (200, {**book, "year": 1907, "version": 2})
        assert client.put(where, json={**BOOK, "version": 1}).status_code == 409  # made from an old version

        assert client.delete(where).status_code == 204
        assert client.get(where).status_code == 404
        assert client.delete(where).status_code == 404


def test_paging_and_filter(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as client:
        for number in range(5):
            client.post("/books", json={"title": f"Volume {number}", "author": "Paging"})
        first = client.get("/books", params={"author": "Paging", "limit": 3}).json()
        rest = client.get("/books", params={"author": "Paging", "after": first[-1]["id"]}).json()
        assert [book["title"] for book in first + rest] == [f"Volume {number}" for number in range(5)]


def test_bounds(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.post("/books", json={**BOOK, "title": "x" * 201}).status_code == 422
        assert client.post("/books", json={**BOOK, "year": 10**30}).status_code == 422
        assert client.get("/books", params={"limit": 101}).status_code == 422
        assert client.get(f"/books/{2**63}").status_code == 422


def test_writers_at_once(server: RunningServer) -> None:
    """Of twenty updates made from one version exactly one wins; twenty creations all do."""

    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            created = await asyncio.gather(*(client.post("/books", json=BOOK) for _ in range(20)))
            assert {answer.status_code for answer in created} == {201}
            assert len({answer.json()["id"] for answer in created}) == 20
            where = created[0].headers["location"]
            updates = await asyncio.gather(*(client.put(where, json={**BOOK, "version": 1}) for _ in range(20)))
            assert sorted(answer.status_code for answer in updates) == [200] + [409] * 19
            assert (await client.get(where)).json()["version"] == 2

    run_bounded(scenario())
