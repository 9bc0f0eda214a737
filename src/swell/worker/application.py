"""Finding the application: import, factory, calling convention.

An import string is `MODULE:ATTRIBUTE`, the attribute may be dotted. Errors of the application keep their own
traceback, without our frames in front. Called by the server before there is a lifespan.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, cast

from swell.config import Config
from swell.errors import AppLoadError
from swell.worker.asgi import Application, Receive, Scope, Send

__all__ = ["load_application"]

Interface = Literal["asgi3", "asgi2", "wsgi"]


def load_application(config: Config) -> Application:
    """The application as an ASGI 3 callable.

    Raises `AppLoadError`; its cause is the application's own exception, if there was one.
    """
    loaded: Any = _import(config.app, config.app_dir) if isinstance(config.app, str) else config.app
    if config.factory:
        try:
            loaded = loaded()
        except Exception as error:
            raise AppLoadError(f"the factory {config.app!r} failed") from _trimmed(error)
    if not callable(loaded):
        raise AppLoadError(f"{config.app!r} is not callable, it is {type(loaded).__name__}")
    interface = _detect(loaded) if config.interface == "auto" else config.interface
    if interface == "wsgi":
        return _wsgi(loaded, config.wsgi_threads)
    return _asgi2(loaded) if interface == "asgi2" else cast(Application, loaded)


def _import(target: str, app_dir: str) -> Any:
    module_name, colon, attributes = target.partition(":")
    if not colon or not module_name or not attributes:
        raise AppLoadError(f"{target!r} is not of the form MODULE:ATTRIBUTE, for example main:app")
    directory = os.path.abspath(app_dir)
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise AppLoadError(f"there is no module {error.name!r} in {directory} or on the import path") from None
        raise AppLoadError(f"the module {module_name!r} could not be imported") from _trimmed(error)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise AppLoadError(f"the module {module_name!r} could not be imported") from _trimmed(error)
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise AppLoadError(f"the module {module_name!r} has no attribute {attributes!r}") from None
    return found


def _trimmed(error: BaseException) -> BaseException:
    """Cuts the frames of Swell and of the import machinery off the start of the traceback."""
    here = os.path.dirname(os.path.dirname(__file__))
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if not (filename.startswith((here, "<frozen importlib")) or filename == importlib.__file__):
            break
        traceback = traceback.tb_next
    return error.with_traceback(traceback)


def _detect(application: Callable[..., Any]) -> Interface:
    """ASGI 3 takes three arguments, WSGI two, ASGI 2 one. What cannot be told is taken for ASGI 3."""
    # A class is constructed with the scope: ASGI 2, unless its instances are awaitable.
    if inspect.isclass(application):
        return "asgi3" if hasattr(application, "__await__") else "asgi2"
    call = application if inspect.isroutine(application) else getattr(application, "__call__", application)  # noqa: B004
    if inspect.iscoroutinefunction(call):
        return "asgi3"
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return "asgi3"
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return "asgi3"
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = sum(p.kind in positional and p.default is p.empty for p in parameters)
    return {1: "asgi2", 2: "wsgi"}.get(needed, "asgi3")  # type: ignore[return-value]


def _asgi2(application: Callable[[Scope], Callable[[Receive, Send], Any]]) -> Application:
    async def asgi3(scope: Scope, receive: Receive, send: Send) -> None:
        await application(scope)(receive, send)

    return asgi3


def _wsgi(application: Callable[..., Any], threads: int) -> Application:
    try:
        from a2wsgi import WSGIMiddleware
    except ImportError:
        raise AppLoadError("WSGI applications need a2wsgi: pip install 'swell[wsgi]'") from None
    return cast(Application, WSGIMiddleware(application, workers=threads))
