"""The exceptions that Swell raises to the people who run it, in families by what can still be done.

Everything derives from `SwellError`; `exit_code` is what the command line returns for it. What a peer did wrong, and
what an application does wrong during a request, never comes through here: the engine answers those on the connection
itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

__all__ = ["AppLoadError", "ConfigError", "StartupError", "SwellError", "UsageError"]


class SwellError(Exception):
    """Base of all of them. The text says what to do next and is printed without a traceback."""

    exit_code: ClassVar[int] = 1


class ConfigError(SwellError, ValueError):
    """The options make no sense: an unknown name, a bad value, a contradiction. Nothing was started.

    `problems` holds one line per mistake, so that all of them can be mended at once.
    """

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class UsageError(ConfigError):
    """The arguments of a command make no sense. `help` is the command line that explains them."""

    def __init__(self, problem: str, help: str) -> None:
        self.help = help
        super().__init__(problem)


class StartupError(SwellError):
    """The surroundings refuse: an address is taken, a descriptor is not a socket, a file limit is too low."""


class AppLoadError(SwellError):
    """The application could not be imported, built or started. The application's own exception is the `__cause__`."""

    exit_code = 3
