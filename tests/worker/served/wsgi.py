"""WSGI applications of every temper. One callable, by path."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.types import StartResponse, WSGIEnvironment

if TYPE_CHECKING:  # only one of the applications needs Flask
    from flask import Flask, Response

BUSY: set[int] = set()
MOST = 0
LOCK = threading.Lock()


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return PATHS[environ["PATH_INFO"]](environ, start_response)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The whole body, read in pieces."""
    pieces = iter(lambda: environ["wsgi.input"].read(100_000), b"")
    body = b"".join(pieces)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def lines(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    stream = environ["wsgi.input"]
    first = stream.readline()
    part = stream.readline(3)
    rest = list(stream)
    start_response("200 OK", [])
    return [repr((first, part, rest, stream.read())).encode()]


def variables(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    names = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_X_FORWARDED_FOR", "HTTP_COOKIE", "CONTENT_TYPE")
    return [f"{name}={environ.get(name)}\n".encode() for name in names]


class Generated:
    """Says when it is closed."""

    def __init__(self, count: int, size: int = 1) -> None:
        self.count, self.size = count, size

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.count):
            yield str(number).encode() * self.size

    def close(self) -> None:
        say("generator closed")


def generated(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return Generated(10)


def endless(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return Generated(10**9, 65536)


def written(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [])
    write(b"written ")
    return [b"", b"and returned"]


def replaced(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """An error before the first byte takes the status back."""
    start_response("200 OK", [("X-First", "yes")])
    try:
        raise ValueError("early")
    except ValueError:
        start_response("503 Replaced", [("X-Second", "yes")], sys.exc_info())
    return [b"sorry"]


def too_late(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """An error after the first byte is raised again."""
    write = start_response("200 OK", [])
    write(b"begun")
    try:
        raise ValueError("late")
    except ValueError:
        start_response("500 Too Late", [], sys.exc_info())
    return [b"never"]


def failing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise LookupError("wsgi failed")


def twice(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def silent(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return [b"no start_response"]


def empty(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def busy(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Stays in the application for a while. Answers how many were there at most."""
    global MOST
    with LOCK:
        BUSY.add(threading.get_ident())
        MOST = max(MOST, len(BUSY))
    time.sleep(0.2)
    with LOCK:
        BUSY.discard(threading.get_ident())
    start_response("200 OK", [])
    return [f"{MOST}".encode()]


PATHS = {f"/{each.__name__}": each for each in (
    echo, lines, variables, generated, endless, written, replaced, too_late, failing, twice, silent, empty, busy,
)}  # fmt: skip


def flask_app() -> Flask:
    from flask import Flask, Response, request

    site = Flask("site")

    @site.post("/upload")
    def upload() -> dict[str, Any]:
        return {"form": request.form.to_dict(), "size": len(request.get_data())}

    @site.get("/stream")
    def stream() -> Response:
        return Response((f"{n}\n" for n in range(5)), mimetype="text/plain")

    @site.get("/error")
    def error() -> str:
        raise OSError("flask failed")

    @site.get("/pid")
    def pid() -> str:
        return str(os.getpid())

    return site
