"""Finding the application: environment file, import, factory, calling convention.

An import string is `MODULE:ATTRIBUTE`, the attribute may be dotted. Errors of the application stay the cause of ours,
without our frames in front. Called by `main` before the loop runs, or by a server on somebody else's loop; a template
process imports and leaves the rest to the workers that it forks.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, cast

from swell.config import Config
from swell.config.dotenv import load_env_file
from swell.config.nearest import nearest
from swell.errors import AppLoadError
from swell.worker.asgi import Application, Receive, Scope, Send
from swell.worker.wsgi import WsgiBridge

__all__ = ["build_application", "import_application", "load_application"]


def load_application(config: Config) -> Application:
    """The application as an ASGI 3 callable.

    Raises `AppLoadError`; its cause is the application's own exception, if there was one.
    """
    return build_application(config, import_application(config))


def import_application(config: Config) -> Any:
    """What the import string names: the application or its factory. Raises `AppLoadError`."""
    if config.env_file is not None:
        load_env_file(config.env_file, os.environ)
    return _import(config.app, config.app_dir) if isinstance(config.app, str) else config.app


def build_application(config: Config, loaded: Any) -> Application:
    """Calls the factory, if it is one, and finds out how the application is called. Raises `AppLoadError`."""
    name = config.app if isinstance(config.app, str) else getattr(config.app, "__qualname__", repr(config.app))
    if config.factory:
        loaded = _build(loaded, name)
    if not callable(loaded):
        hint = " (--factory calls it without arguments)" if config.factory else ""
        kind = type(loaded).__name__
        raise AppLoadError(f"{name} is not an application: it is not callable, it is of type {kind}{hint}")
    interface = _detect(loaded, name) if config.interface == "auto" else config.interface
    if interface == "wsgi":
        return WsgiBridge(loaded, config.wsgi_threads)
    return _asgi2(loaded) if interface == "asgi2" else cast(Application, loaded)


def _build(factory: Any, name: str) -> Any:
    if not callable(factory):
        raise AppLoadError(f"{name} is not a factory: it is not callable, it is of type {type(factory).__name__}")
    if _required(factory) not in (0, None):
        raise AppLoadError(f"{name} is not a factory: it takes arguments, as an application does; drop --factory")
    try:
        built = factory()
    except Exception as error:
        raise AppLoadError(f"the factory {name} failed") from _trimmed(error)
    if inspect.iscoroutine(built):
        built.close()
        raise AppLoadError(f"the factory {name} is an async function; a factory is an ordinary one")
    return built


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
            raise AppLoadError(_no_module(module_name, error.name, directory)) from None
        raise AppLoadError(f"the module {module_name!r} could not be imported") from _trimmed(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise AppLoadError(f"the module {module_name!r} could not be imported") from _trimmed(error)
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            known = [name for name in dir(found) if not name.startswith("_")]
            guess = nearest(attribute, known)
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise AppLoadError(f"the module {module_name!r} has no attribute {attributes!r}{hint}") from None
    return found


def _no_module(module_name: str, missing: str, directory: str) -> str:
    """A line for a module that is not there, with one of a similar name that is."""
    text = f"there is no module {missing!r} in {directory} or on the import path"
    if module_name.removesuffix(".py") != module_name:
        return f"{text}; a module is written without .py: {module_name.removesuffix('.py')}"
    parent, _, last = missing.rpartition(".")
    try:
        places = list(sys.modules[parent].__path__) if parent else [directory]
    except (KeyError, AttributeError):
        return text
    guess = nearest(last, [module.name for module in pkgutil.iter_modules(places)])
    return f"{text}; did you mean {f'{parent}.{guess}' if parent else guess!r}?" if guess else text


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


def _detect(application: Callable[..., Any], name: str) -> Literal["asgi3", "asgi2"]:
    """ASGI 3 takes three arguments, ASGI 2 one. WSGI takes two and none may be a factory: both are never guessed, but
    told. What cannot be told apart is taken for ASGI 3.
    """
    # A class is constructed with the scope: ASGI 2, unless its instances are awaitable.
    if inspect.isclass(application):
        if hasattr(application, "__await__") or _required(application) == 3:
            return "asgi3"
        if _required(application) == 1:
            return "asgi2"
        raise AppLoadError(
            f"{name} is a class whose instances may be the application, but it is not one itself: name an instance, or"
            f" build one with --factory"
        )
    if inspect.iscoroutinefunction(_call_of(application)):
        return "asgi3"
    match _required(application):
        case 0:
            raise AppLoadError(f"{name} takes no arguments, so it is probably a factory: add --factory")
        case 1:
            return "asgi2"
        case 2:
            raise AppLoadError(
                f"{name} takes two arguments, so it is probably a WSGI application: add --interface wsgi"
            )
        case _:
            return "asgi3"


def _call_of(application: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isroutine(application) or isinstance(application, functools.partial):
        return application
    return getattr(application, "__call__", application)  # noqa: B004 - its signature is wanted


def _required(application: Callable[..., Any]) -> int | None:
    """How many positional arguments a call has to have; `None` when it takes any number or does not say."""
    try:
        parameters = inspect.signature(application).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters)


def _asgi2(application: Callable[[Scope], Callable[[Receive, Send], Any]]) -> Application:
    async def asgi3(scope: Scope, receive: Receive, send: Send) -> None:
        await application(scope)(receive, send)

    return asgi3
