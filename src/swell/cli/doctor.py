"""`swell doctor`: whether this machine is set up for serving, and what to change.

Each check is a function from facts to one line; `checks` lists them. Nothing is started and nothing is changed.
"""

from __future__ import annotations

import json
import platform
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from swell.cli.capacity import Connections, capacity, clock, clock_cost_ns, clock_synchronised
from swell.cli.check import Check
from swell.cli.options import effective_options
from swell.cli.output import note
from swell.cli.version import build_profile, installed, missing_core
from swell.config import Config
from swell.config.units import show_size
from swell.errors import ConfigError
from swell.supervisor.machine import Machine, inspect

__all__ = ["SUMMARY", "Check", "checks", "main"]

SUMMARY = "check this machine and say what to change"

_USAGE = """\
usage: swell doctor [options]

Looks at the build, Python, and what the machine or container grants: CPUs, memory, threads, descriptors, the kernel's
queues, the clock; and whether it is enough for the workers that are asked for. With --pool-size and --database-max,
or their like in --scale-policy, also whether the database takes the connections of all workers.
Says what to change. Takes the options of `swell serve`, because some answers depend on them. Exit code 1 if it could
not serve."""

_FLAGS = {
    "--json": "Print JSON for machines.",
    "--pool-size NUMBER": "Database connections that one worker may open, overflow included.",
    "--database-max NUMBER": "Connections that the database takes from all of them.",
}
_FILES_WANTED = 8192  # what a worker needs for some thousands of connections, and the application's own files


def checks(config: Config, machine: Machine, connections: Connections | None = None) -> Iterator[Check]:
    """All of them, in the order of printing."""
    yield _build()
    yield _python()
    yield _loop(config)
    yield from _extras(config)
    yield _cpus(machine)
    yield _memory(machine)
    yield from capacity(config, machine, connections)
    yield _files(config, machine)
    yield from _queues(config, machine)


def _build() -> Check:
    try:
        profile = build_profile()
    except ImportError as error:
        return Check("build", "fail", "native module missing", missing_core(error))
    if profile != "release":
        advice = "a debug build is many times slower: build with `make build`, or install a wheel"
        return Check("build", "warn", profile, advice)
    return Check("build", "ok", profile)


def _python() -> Check:
    value = f"{platform.python_implementation()} {platform.python_version()}"
    if platform.python_implementation() != "CPython":
        return Check("python", "fail", value, "the native module is made for CPython 3.11 or newer")
    if sysconfig.get_config_var("Py_DEBUG"):
        return Check("python", "warn", f"{value}, debug build", "use an ordinary build of Python for serving")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return Check("python", "warn", f"{value}, free-threaded", "not tested with Swell: use an ordinary build")
    return Check("python", "ok", value)


def _loop(config: Config) -> Check:
    uvloop = installed("uvloop")
    if config.loop == "uvloop" and uvloop is None:
        return Check("loop", "fail", "uvloop is not installed", "pip install 'swell[uvloop]', or --loop auto")
    if config.loop == "asyncio":
        return Check("loop", "ok", "asyncio")
    if uvloop is None:
        return Check("loop", "ok", "asyncio", "uvloop takes less time per request: pip install 'swell[uvloop]'")
    return Check("loop", "ok", f"uvloop {uvloop}")


def _extras(config: Config) -> Iterator[Check]:
    """Optional packages that the options ask for."""
    if config.reload:
        yield _extra("reload", "watchfiles")
    if config.interface == "wsgi":
        yield _extra("wsgi", "a2wsgi")
    if config.otel:
        yield _extra("otel", "opentelemetry-exporter-otlp-proto-http")
    if isinstance(config.log_config, str) and config.log_config.endswith((".yaml", ".yml")):
        yield _extra("yaml", "PyYAML")


def _extra(extra: str, distribution: str) -> Check:
    found = installed(distribution)
    if found is None:
        return Check(extra, "fail", f"{distribution} is not installed", f"pip install 'swell[{extra}]'")
    return Check(extra, "ok", f"{distribution} {found}")


def _cpus(machine: Machine) -> Check:
    cores = f"{machine.cores} core{'s' if machine.cores != 1 else ''}"
    if machine.cpu_quota is None or machine.cpu_quota >= machine.cores:
        return Check("cpu", "ok", cores)
    value = f"quota of {machine.cpu_quota:g} CPUs on {cores}"
    if machine.cpu_quota < 1:
        advice = (
            "less than one CPU: the container is stopped for part of each period, which shows as latency. Give it 1"
        )
        return Check("cpu", "warn", value, advice)
    return Check("cpu", "ok", value)


def _memory(machine: Machine) -> Check:
    total = "unknown" if machine.memory_total is None else _rounded(machine.memory_total)
    if machine.memory_limit is None or (machine.memory_total and machine.memory_limit >= machine.memory_total):
        return Check("memory", "ok", f"{total}, no limit")
    value = f"limit of {_rounded(machine.memory_limit)} on {total}"
    if machine.memory_limit < 96 << 20:
        return Check("memory", "warn", value, "Python and a usual application need about 100 MiB: raise the limit")
    return Check("memory", "ok", value)


def _rounded(size: int) -> str:
    unit = 1 << 30 if size >= 10 << 30 else 1 << 20
    return show_size(size // unit * unit)


def _files(config: Config, machine: Machine) -> Check:
    value = f"{_shown(machine.files_soft)} (may be raised to {_shown(machine.files_hard)})"
    if machine.files_soft >= _FILES_WANTED:
        return Check("open files", "ok", value)
    advice = (
        f"each connection takes one: set LimitNOFILE=65536 in the systemd unit, --ulimit nofile=65536 for docker,"
        f" or `ulimit -n {min(65536, machine.files_hard)}` in the shell"
    )
    return Check("open files", "warn", value, advice)


def _shown(limit: int) -> str:
    return "unlimited" if limit >= 1 << 60 else str(limit)


def _queues(config: Config, machine: Machine) -> Iterator[Check]:
    if machine.somaxconn is not None:
        if machine.somaxconn < config.backlog:
            advice = (
                f"the kernel cuts --backlog {config.backlog} down to it: sysctl -w net.core.somaxconn={config.backlog}"
            )
            yield Check("somaxconn", "warn", str(machine.somaxconn), advice)
        else:
            yield Check("somaxconn", "ok", f"{machine.somaxconn} (--backlog {config.backlog})")
    if machine.syn_backlog is not None:
        if machine.syn_backlog < 1024 and not machine.syn_cookies:
            advice = "connections are dropped in a burst: sysctl -w net.ipv4.tcp_max_syn_backlog=4096"
            yield Check("syn backlog", "warn", str(machine.syn_backlog), advice)
        else:
            cookies = {True: ", SYN cookies on", False: ", SYN cookies off", None: ""}[machine.syn_cookies]
            yield Check("syn backlog", "ok", f"{machine.syn_backlog}{cookies}")


def _connections(given: Mapping[str, str]) -> Connections | None:
    words = [given.get(flag) for flag in ("--pool-size", "--database-max")]
    if words == [None, None]:
        return None
    if None in words:
        raise ConfigError("--pool-size and --database-max need each other: give both")
    numbers = []
    for flag, word in zip(("--pool-size", "--database-max"), words, strict=True):
        if word is None or not (word.isascii() and word.isdigit() and 0 < int(word) < 10**9):
            raise ConfigError(f"{flag} must be a number from 1 on, not {word}")
        numbers.append(int(word))
    return Connections(*numbers)


def main(argv: Sequence[str]) -> int:
    """Prints the lines; 1 if one of them fails."""
    found = effective_options(argv, _USAGE, _FLAGS)
    if found is None:
        return 0
    effective, extras = found
    machine = inspect()
    lines = [
        *checks(effective.config, machine, _connections(extras)),
        clock(machine, clock_cost_ns(), clock_synchronised()),
    ]
    failed = any(line.status == "fail" for line in lines)
    if "--json" in extras:
        data = {"can_serve": not failed, "checks": [asdict(line) for line in lines], "notes": effective.notes}
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    else:
        width = max(len(line.name) for line in lines)
        for line in lines:
            sys.stdout.write(f"{line.status:<4}  {line.name:<{width}}  {line.value}\n")
            if line.advice:
                sys.stdout.write(f"{' ' * (width + 8)}{line.advice}\n")
        note(effective.notes)
    return 1 if failed else 0
