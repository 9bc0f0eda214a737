"""Options: how many workers, how they start and end, and how the running instance is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from swell.config.kinds import choice, duration, file, integer, number, off, size, text, workers
from swell.config.option import option
from swell.config.workers import WorkerRange

__all__ = ["Workers"]


@dataclass(frozen=True, kw_only=True)
class Workers:
    __slots__ = ()
    title: ClassVar[str] = "Workers"

    workers: WorkerRange = option(  # noqa: RUF009 - immutable
        workers(),
        WorkerRange(1, 1),
        "Worker processes: a number, a range such as 1..8 within which the parent adds and removes workers as load"
        " asks, or auto, which is 1 to as many as there are cores. 0..4 lets an idle service go to sleep.",
        environment=("WEB_CONCURRENCY",),
        uvicorn="uvicorn has fixed numbers only",
    )
    spawn: Literal["auto", "fork", "fresh"] = option(
        choice("auto", "fork", "fresh"),
        "auto",
        "How a worker starts: forked from a process that has imported the application, or in a fresh interpreter. auto"
        " forks, except where the import started threads, opened connections, or forking is not safe on this system.",
        why="A forked worker is ready within milliseconds and shares memory with the others.",
    )
    timeout_worker_start: float = option(
        duration(),
        60.0,
        "From the start of a worker to the end of its lifespan startup. Later, it is ended and counts as failed.",
        why="Longer than any honest import. Raise it for applications that load models.",
    )
    timeout_worker_stuck: float | None = option(
        off(duration()),
        30.0,
        "How long the event loop of a worker may stand still before the worker is replaced. The parent first logs the"
        " request and the stacks.",
        why="No request of an asynchronous application blocks its loop for so long by design, and everybody else's"
        " requests on that worker wait meanwhile.",
        uvicorn="--timeout-worker-healthcheck, 5 s, answered by a thread of its own",
    )
    limit_max_requests: int | None = option(
        off(number()),
        None,
        "Replace a worker, without loss, after this many requests.",
    )
    limit_max_requests_jitter: int = option(
        integer(0, 2**31 - 1), 0, "A random number up to this is added to --limit-max-requests for each worker."
    )
    limit_max_age: float | None = option(
        off(duration()),
        None,
        "Replace a worker, without loss, after this time, give or take a tenth.",
    )
    limit_max_rss: int | None = option(
        off(size(16 << 20)),
        None,
        "Replace a worker whose resident memory is larger. At once and by force when it grows past 1.5 times this.",
    )
    drain_grace: float = option(
        duration(zero=True),
        0.0,
        "How long to go on accepting after SIGTERM or `swell drain`, while readiness says no already.",
        why="0: right where connections stop arriving by themselves. Behind a load balancer, as long as it takes to"
        " notice.",
    )
    name: str = option(
        text("NAME"), "", "The instance's name for commands such as `swell status`. Empty: application and port."
    )
    control: str | None = option(
        off(file()),
        "auto",
        "Path of the Unix socket that commands use, readable by the owner only. auto is NAME/control.sock in the"
        " runtime directory.",
    )
    runtime_dir: str = option(
        text("DIR"),
        "",
        "Directory for sockets and the scoreboard. Empty: $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/swell, /run/swell.",
    )
    state_dir: str = option(
        text("DIR"),
        "",
        "Directory for the history of load, and for the certificates of --acme-domain."
        " Empty: $STATE_DIRECTORY, $XDG_STATE_HOME/swell, /var/lib/swell.",
    )
    scale_policy: str | None = option(
        off(file()), None, "TOML file with targets and windows for the number of workers, see docs/scaling.md."
    )
    forecast: Literal["off", "forecast-only", "on"] = option(
        choice("off", "forecast-only", "on"),
        "off",
        "Raise the number of workers before the load of the hour comes, from recorded history; forecast-only says what"
        " it would have done.",
    )
