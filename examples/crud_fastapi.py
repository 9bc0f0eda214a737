"""Create, read, update and delete over HTTP: FastAPI on SQLite.

    pip install fastapi && swell --limit-body-size 64k examples.crud_fastapi:app

The interactive description is at http://127.0.0.1:8000/docs. The books are kept in the file that `BOOKS_DB` names
(books.sqlite3 beside this file when it is not set). The endpoints are plain functions, so they run in the thread pool
and the event loop never waits for the disk; every request opens its own connection, which SQLite does in
microseconds. Updates carry the version they were made from: two people who edit one book at once do not overwrite
each other.
"""

import os
import pathlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Path, Query, Response
from pydantic import BaseModel, Field

DATABASE = os.environ.get("BOOKS_DB") or pathlib.Path(__file__).with_name("books.sqlite3")
MAX_BOOKS = 10_000  # rows; one more is answered 507
PAGE_SIZE = 100  # rows in one answer at most
BUSY_SECONDS = 5.0  # how long a writer waits for another one before it is answered 503

SCHEMA = """
CREATE TABLE IF NOT EXISTS books (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL,
    author TEXT NOT NULL,
    year INTEGER,
    version INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS books_by_author ON books (author, title);
"""

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]


class BookIn(BaseModel):
    """What a client sends to create a book."""

    title: str = Field(min_length=1, max_length=200)
    author: str = Field(min_length=1, max_length=100)
    year: int | None = Field(default=None, ge=-3000, le=3000)


class BookUpdate(BookIn):
    """A replacement, and the version it replaces."""

    version: int = Field(ge=1, le=2**31)


class Book(BookIn):
    """What a client gets."""

    id: int
    version: int


def open_database() -> sqlite3.Connection:
    # A dependency and the endpoint may run on different threads of the pool, one after the other.
    database = sqlite3.connect(DATABASE, BUSY_SECONDS, check_same_thread=False)
    database.row_factory = sqlite3.Row
    return database


def connection() -> Iterator[sqlite3.Connection]:
    """One connection and one transaction per request: committed when the endpoint returns, rolled back if it raises.

    The scope "function" below ends it before the answer is sent, so what a client was told is on the disk.
    """
    with closing(open_database()) as database:
        try:
            with database:
                yield database
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise HTTPException(503, "the database is busy", {"retry-after": "1"}) from error


Database = Annotated[sqlite3.Connection, Depends(connection, scope="function")]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    with closing(open_database()) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(SCHEMA)
    yield


app = FastAPI(title="Books", lifespan=lifespan)


def fetch(database: sqlite3.Connection, book_id: int) -> dict[str, Any]:
    row = database.execute("SELECT * FROM books WHERE id = ?", (book_id,)).fetchone()
    if row is None:
        raise HTTPException(404, f"there is no book {book_id}")
    return dict(row)


@app.post("/books", status_code=201, response_model=Book)
def create(book: BookIn, response: Response, database: Database) -> dict[str, Any]:
    cursor = database.execute(
        "INSERT INTO books (title, author, year) SELECT ?, ?, ? WHERE (SELECT count(*) FROM books) < ?",
        (book.title, book.author, book.year, MAX_BOOKS),
    )
    if cursor.rowcount == 0 or cursor.lastrowid is None:
        raise HTTPException(507, f"the shelf is full: {MAX_BOOKS} books")
    response.headers["location"] = f"/books/{cursor.lastrowid}"
    return fetch(database, cursor.lastrowid)


@app.get("/books", response_model=list[Book])
def read_all(
    database: Database,
    author: Annotated[str | None, Query(max_length=100)] = None,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="the last id of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE)] = 20,
) -> list[dict[str, Any]]:
    rows = database.execute(
        "SELECT * FROM books WHERE id > ? AND (? IS NULL OR author = ?) ORDER BY id LIMIT ?",
        (after, author, author, limit),
    )
    return [dict(row) for row in rows]


@app.get("/books/{book_id}", response_model=Book)
def read(book_id: Id, database: Database) -> dict[str, Any]:
    return fetch(database, book_id)


@app.put("/books/{book_id}", response_model=Book)
def update(book_id: Id, book: BookUpdate, database: Database) -> dict[str, Any]:
    cursor = database.execute(
        "UPDATE books SET title = ?, author = ?, year = ?, version = version + 1 WHERE id = ? AND version = ?",
        (book.title, book.author, book.year, book_id, book.version),
    )
    current = fetch(database, book_id)
    if cursor.rowcount == 0:
        raise HTTPException(409, f"book {book_id} is at version {current['version']} by now: read it again")
    return current


@app.delete("/books/{book_id}", status_code=204)
def delete(book_id: Id, database: Database) -> None:
    fetch(database, book_id)
    database.execute("DELETE FROM books WHERE id = ?", (book_id,))
