"""The files of the page, by their names below `/static/`. They are read once, when first asked for."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

__all__ = ["INDEX", "File", "file_of"]

INDEX = "index.html"
# Whatever else lies there is not served.
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class File(NamedTuple):
    content_type: str
    body: bytes


def file_of(name: str) -> File | None:
    """The file of that name; None where there is none."""
    return _files().get(name)


@cache
def _files() -> dict[str, File]:
    found = {}
    for entry in files("swell.dashboard").joinpath("static").iterdir():
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if kind is not None and entry.is_file():
            found[entry.name] = File(kind, entry.read_bytes())
    return found
