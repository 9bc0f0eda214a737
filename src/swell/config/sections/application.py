"""Options: which application, how it is found and how it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from swell.config.kinds import application, choice, directory, file, flag, integer, off, text
from swell.config.option import option

__all__ = ["Application"]


@dataclass(frozen=True, kw_only=True)
class Application:
    __slots__ = ()
    title: ClassVar[str] = "Application"

    app: str | Callable[..., Any] = option(  # noqa: RUF009 - a field, not a shared value
        application(),
        "",
        "The application, MODULE:ATTRIBUTE. On the command line it stands alone, without a flag.",
    )
    app_dir: str = option(directory(), ".", "Directory that is put in front of the import path.")
    factory: bool = option(flag(), False, "APP is a function without arguments that returns the application.")
    interface: Literal["auto", "asgi3", "asgi2", "wsgi"] = option(
        choice("auto", "asgi3", "asgi2", "wsgi"),
        "auto",
        "How the application is called; auto looks at its signature. WSGI is never guessed.",
    )
    lifespan: Literal["auto", "on", "off"] = option(
        choice("auto", "on", "off"),
        "auto",
        "ASGI lifespan; auto goes on without it when the application raises on the lifespan scope.",
    )
    root_path: str = option(
        text("PATH"), "", "The ASGI root_path: the prefix under which a proxy mounts the application."
    )
    env_file: str | None = option(
        off(file()),
        None,
        "File of NAME=value lines, set in the application's environment before it is imported.",
        uvicorn="uvicorn needs python-dotenv for it",
    )
    loop: Literal["auto", "asyncio", "uvloop"] = option(
        choice("auto", "asyncio", "uvloop"),
        "auto",
        "Event loop; auto takes uvloop if it is installed.",
        uvicorn="uvicorn also takes none, zuvloop and loop factories",
    )
    eager_start: bool = option(
        flag(),
        True,
        "Run the first step of a request's task at once instead of in the next turn of the loop.",
        why="It saves one trip through the loop per request. Off is the way back for code that counts on a later"
        " start.",
    )
    wsgi_threads: int = option(
        integer(1, 1000),
        10,
        "Threads that serve a WSGI application, which is also the number of its concurrent requests.",
        why="Each thread costs a stack and usually a database connection.",
    )
