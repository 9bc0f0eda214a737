"""Options: what is logged and how it looks, and whether requests are traced."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from swell.config.kinds import auto_flag, choice, duration, flag, log_settings, off, words
from swell.config.option import option

__all__ = ["TRACE", "Logs"]

TRACE = 5  # below logging.DEBUG


@dataclass(frozen=True, kw_only=True)
class Logs:
    __slots__ = ()
    title: ClassVar[str] = "Logs and traces"

    log_level: Literal["critical", "error", "warning", "info", "debug", "trace"] = option(
        words(
            "critical", "error", "warning", "info", "debug", "trace",
            numbers={
                logging.CRITICAL: "critical", logging.ERROR: "error", logging.WARNING: "warning",
                logging.INFO: "info", logging.DEBUG: "debug", TRACE: "trace",
            },
        ),
        "info",
        "The least important messages that are shown.",
    )  # fmt: skip
    log_format: Literal["text", "json"] = option(
        choice("text", "json"), "text", "Lines for people, or one JSON object per line for machines."
    )
    log_config: str | Mapping[str, object] | None = option(
        log_settings(),
        None,
        "File for logging.config: .json, .yaml or .ini. It replaces Swell's own set-up of logging.",
        uvicorn="the loggers are swell and swell.access; a file that only knows uvicorn.error and uvicorn.access works;"
        " formatters of uvicorn.logging need uvicorn to be installed",
    )
    access_log: bool = option(flag(), True, "Log each request.")
    otel: bool = option(
        flag(),
        False,
        "Trace requests with OpenTelemetry and send the spans by OTLP; needs swell[otel]. OTEL_* variables say where"
        " to, and how many.",
        why="A recorded span costs more than all else that Swell does for a request.",
    )
    use_colors: bool | None = option(auto_flag(), None, "Colours in the log; auto looks whether it goes to a terminal.")
    slow_callback: float | None = option(
        off(duration()),
        0.1,
        "Log a turn of a worker's event loop that takes longer, with the stack and the request that blocked it.",
        why="Everybody else on that worker waits meanwhile; asyncio itself only says so in debug mode, which is slow.",
    )
