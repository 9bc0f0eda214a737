"""An instance from the command line or from `swell.run`: everything a parent needs, made in order and given back.

addresses → directory and control socket → slots → template (forked before there is a loop) → parent on its loop.
Errors become one line and an exit code: 0 stopped as asked, 1 could not serve, 3 the application did not start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator

from swell.config import Config
from swell.errors import SwellError
from swell.supervisor.changes import Changes
from swell.supervisor.commands import Commands
from swell.supervisor.control.server import ControlServer
from swell.supervisor.instance import InstanceDirectory
from swell.supervisor.machine import usable_cores
from swell.supervisor.parent import Parent
from swell.supervisor.reaper import become_subreaper
from swell.supervisor.reload import impatient, watch_and_reload
from swell.supervisor.runtime import default_name, runtime_directory
from swell.supervisor.slots import Slots, slots_for
from swell.supervisor.spawn import Template, can_fork_here
from swell.telemetry import set_up
from swell.worker.attached import Wiring
from swell.worker.process import raise_file_limit
from swell.worker.sockets import Listeners

__all__ = ["serve"]

log = logging.getLogger("swell")


def serve(config: Config) -> int:
    """Serves until a signal or a command ends it. Returns the exit code."""
    try:
        set_up(config)
        raise_file_limit()
        with _interrupted(), contextlib.ExitStack() as stack:
            changes = stack.enter_context(Changes(config)) if config.reload else None
            config = impatient(config) if config.reload else config
            cores = usable_cores()
            bounds = config.workers.within(cores)
            maximum = bounds.maximum or bounds.minimum
            listeners = stack.enter_context(Listeners(config, shards=maximum))
            directory = InstanceDirectory.claim(
                runtime_directory(config.runtime_dir),
                default_name(config.app, config.addresses),
                config.name,
                config.control,
            )
            stack.callback(directory.close)
            slots = Slots(directory.scoreboard, slots_for(maximum, cores))
            stack.callback(slots.close)
            wiring = Wiring(
                slots.board.path, [one.fileno() for one in listeners.sockets], slots.inboxes, slots.outboxes
            )
            template = _template(config, wiring, directory)
            parent = Parent(config, bounds, wiring, slots, listeners.sockets, listeners.groups)
            return asyncio.run(_run(parent, template, directory, listeners, changes))
    except SwellError as error:
        sys.stderr.write(f"swell: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0


def _template(config: Config, wiring: Wiring, directory: InstanceDirectory) -> Template | None:
    """A process that imports the application, to be forked; None where each worker is to do that by itself."""
    if config.spawn == "fresh" or not become_subreaper():
        return None
    if can_fork_here():
        return Template.forked(config, wiring, [] if directory.listener is None else [directory.listener])
    return Template.executed(config, wiring)


async def _run(
    parent: Parent,
    template: Template | None,
    directory: InstanceDirectory,
    listeners: Listeners,
    changes: Changes | None,
) -> int:
    loop = asyncio.get_running_loop()
    commands = Commands(parent, directory.name, listeners.addresses)

    def say_addresses() -> None:
        for address in listeners.addresses:
            log.info("listening on %s", address)

    parent.on_serving = say_addresses
    actions: dict[signal.Signals, Callable[[], object]] = {
        signal.SIGTERM: commands.ending_signal(signal.SIGTERM),
        signal.SIGINT: commands.ending_signal(signal.SIGINT),
        signal.SIGHUP: commands.on_hup,
        signal.SIGTTIN: lambda: commands.step(+1),
        signal.SIGTTOU: lambda: commands.step(-1),
    }
    for number, action in actions.items():
        loop.add_signal_handler(number, action)
    control = None if directory.listener is None else ControlServer(commands, directory.listener)
    try:
        if control is not None:
            await control.start()
        watching = None if changes is None else loop.create_task(watch_and_reload(changes, parent))
        code = await parent.run(template)
        if watching is not None:
            watching.cancel()
        return code
    finally:
        if control is not None:
            await control.close()


@contextlib.contextmanager
def _interrupted() -> Iterator[None]:
    """Until the loop takes signals, SIGTERM is like Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
