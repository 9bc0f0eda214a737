"""An instance from the command line or from `swell.run`: everything a parent needs, made in order and given back.

addresses → directory and control socket → slots → template (forked before there is a loop) → parent on its loop.
Errors become one line and an exit code: 0 stopped as asked, 1 could not serve, 3 the application did not start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from socket import socket

from swell.config import Config
from swell.dashboard import KEPT_SECONDS
from swell.errors import StartupError, SwellError
from swell.scaling import read_policy
from swell.supervisor.admin import recall
from swell.supervisor.admin.app import AdminApplication
from swell.supervisor.admin.feed import Feed
from swell.supervisor.admin.guard import OWNER, Guard
from swell.supervisor.admin.listener import guard_of, keeper_of, listener_of
from swell.supervisor.autoscale import Autoscaler
from swell.supervisor.changes import Changes
from swell.supervisor.commands import Commands
from swell.supervisor.control.server import ControlServer
from swell.supervisor.handover import Handover
from swell.supervisor.history import Minute
from swell.supervisor.inherited import InheritingListeners
from swell.supervisor.instance import InstanceDirectory
from swell.supervisor.machine import usable_cores
from swell.supervisor.parent import Parent
from swell.supervisor.reaper import become_subreaper
from swell.supervisor.reload import impatient, watch_and_reload
from swell.supervisor.runtime import default_name, runtime_directory, state_directory
from swell.supervisor.signals import Signals
from swell.supervisor.slots import Slots, slots_for
from swell.supervisor.spawn import Template, TemplateFailed, can_fork_here
from swell.supervisor.standin import become, block_signals
from swell.supervisor.systemd import Notifier, Reporter
from swell.supervisor.tls import TlsForWorkers
from swell.supervisor.upgrade import Takeover, Upgrade, logical_directory, outlive
from swell.telemetry import set_up
from swell.worker.attached import Wiring
from swell.worker.process import raise_file_limit
from swell.worker.sockets import Listeners, describe

__all__ = ["serve"]

log = logging.getLogger("swell")


def serve(config: Config, *, own_process: bool = True) -> int:
    """Serves until a signal or a command ends it. Returns the exit code.

    With `own_process` this call may be the last thing that the process does: when another server has taken over, a bare
    interpreter takes its place to wait for that one. Without, it waits here.
    """
    try:
        with Signals(own_process) as signals:
            set_up(config)
            raise_file_limit()
            with contextlib.ExitStack() as stack:
                instance = _Instance(config, stack, signals)
                code = asyncio.run(instance.run(own_process))
    except SwellError as error:
        sys.stderr.write(f"swell: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    line = instance.upgrade.line
    if line is None or not own_process:
        return code
    for number in signals.kept:
        line.forward(number)
    return become(line)


class _Instance:
    """Everything that belongs to one instance; `stack` gives it back."""

    def __init__(self, config: Config, stack: contextlib.ExitStack, signals: Signals) -> None:
        place = logical_directory()
        handover = Handover.take(os.environ)
        self.changes = stack.enter_context(Changes(config)) if config.reload else None
        config = impatient(config) if config.reload else config
        policy = read_policy(config.scale_policy)
        cores = usable_cores()
        bounds = config.workers.within(cores)
        maximum = bounds.maximum or bounds.minimum
        listeners: Listeners
        if handover is None:
            listeners = stack.enter_context(Listeners(config, shards=maximum))
            directory = InstanceDirectory.claim(
                runtime_directory(config.runtime_dir),
                default_name(config.app, config.addresses),
                config.name,
                config.control,
            )
        else:
            listeners = inherited = InheritingListeners(config, handover.groups, shards=maximum)
            stack.enter_context(listeners)
            directory = InstanceDirectory.adopt(handover.directory, handover.control)
        self.directory = directory
        stack.callback(directory.close)
        slots = Slots(directory.scoreboard, slots_for(maximum, cores))
        stack.callback(slots.close)
        self.tls = None
        self.certificates = None
        if config.acme_domain:
            from swell.supervisor.acme import CertificateKeeper  # what it imports is not for the others to carry

            self.certificates = CertificateKeeper(config)
        if config.has_tls:
            served = config if self.certificates is None else self.certificates.served(config)
            self.tls = stack.enter_context(TlsForWorkers(served, () if handover is None else handover.ticket_keys))
        board, metrics = slots.files
        wiring = Wiring(
            board,
            metrics,
            [one.fileno() for one in listeners.sockets],
            listeners.roles,
            slots.inboxes,
            slots.outboxes,
        )
        ours = [directory.listener]
        ours += () if handover is None else (handover.admin, handover.talk, handover.reports)
        self.signals = signals
        signals.keep()
        self.template = _template(config, wiring, [one for one in ours if one is not None])
        if self.template is not None:
            stack.callback(self.template.close)  # it may be importing, and would not notice that we are gone
        self.parent = Parent(config, bounds, wiring, slots, listeners.sockets, listeners.groups, listeners.addresses)
        self.parent.on_serving = self._say_addresses
        self.parent.tls = self.tls
        self.listeners = listeners
        self.commands = Commands(self.parent, directory.name, listeners.addresses)
        if self.certificates is not None:
            self.commands.certificates = self.certificates.describe
        self.autoscaler = Autoscaler(
            self.parent, self.commands, policy, lambda: state_directory(directory.name, config.state_dir)
        )
        self.feed = Feed(self.commands, lambda: self.parent.meter.snapshot(self.parent), self.autoscaler.look)
        self.autoscaler.on_load = self._show
        directory.admin = listener_of(config, None if handover is None else handover.admin)
        self.controls = []
        if directory.listener is not None:
            self.controls.append(ControlServer(self._admin(OWNER), directory.listener))
        if directory.admin is not None:
            keeper = keeper_of(config)
            self.controls.append(ControlServer(self._admin(guard_of(config)), directory.admin, keeper))
        notifier = Notifier()
        self.reporter = Reporter(notifier, self.parent)
        reports = None if handover is None else handover.reports
        self.upgrade = Upgrade(self.parent, listeners, directory, notifier, self.reporter, reports, place)
        self.upgrade.ticket_keys = lambda: () if self.tls is None else self.tls.ticket_keys
        stack.callback(self.upgrade.close)
        self.upgrade.leave = lambda: recall.leave(directory.shown, self.feed, self.commands)
        self.commands.upgrade = self.upgrade
        self.upgrade.let_go = self._close_control
        self.takeover = None
        if handover is not None:
            self.takeover = Takeover(handover, self.parent, inherited, directory, self.reporter)
            self.takeover.begin_control = self._start_control
            self.takeover.find = lambda: recall.find(directory.shown, self.feed, self.commands)
            stack.callback(self.takeover.close)
        self._stack = stack

    async def run(self, own_process: bool) -> int:
        """From the first worker to the last. Returns the exit code."""
        loop = asyncio.get_running_loop()
        commands = self.commands
        actions: dict[signal.Signals, Callable[[], object]] = {
            signal.SIGTERM: commands.ending_signal(signal.SIGTERM),
            signal.SIGINT: commands.ending_signal(signal.SIGINT),
            signal.SIGHUP: commands.on_hup,
            signal.SIGUSR2: commands.on_usr2,
            signal.SIGTTIN: lambda: commands.step(+1),
            signal.SIGTTOU: lambda: commands.step(-1),
        }

        def act(number: signal.Signals) -> None:
            if self.upgrade.successor is None:
                actions[number]()
            else:
                self.upgrade.received(number)

        self.signals.deliver(loop, act)
        self.upgrade.start()
        self.autoscaler.start()
        if self.directory.admin is not None:
            self.feed.start()
        watching = None
        watching_tls = None if self.tls is None else loop.create_task(self.tls.watch(self.parent))
        ordering = None
        if self.certificates is not None and self.tls is not None:
            ordering = loop.create_task(self.certificates.run(self.parent, self.tls))
        try:
            if self.takeover is not None:
                self.takeover.start()
            else:
                await self._start_control()
                self.reporter.start()
            if self.changes is not None:
                watching = loop.create_task(watch_and_reload(self.changes, self.parent))
            code = await self.parent.run(self.template)
        finally:
            self.autoscaler.stop()
            self.feed.stop()
            await self.upgrade.finish()
            for task in (watching, watching_tls, ordering):
                if task is not None:
                    task.cancel()
            self.reporter.stop()
            await self._close_control()
        line = self.upgrade.line
        if line is not None and own_process:
            self.signals.replacing()
            block_signals()
            return code
        if line is not None:
            self._stack.close()
            self.signals.deliver(loop, line.forward)
            code = await outlive(line)
        self.signals.over(code)
        return code

    def _admin(self, guard: Guard) -> AdminApplication:
        parent = self.parent
        return AdminApplication(
            self.commands, lambda: parent.meter.snapshot(parent), guard, parent.config.timeout_worker_stuck, self.feed
        )

    async def _start_control(self) -> None:
        for control in self.controls:
            await control.start()

    async def _close_control(self) -> None:
        self.commands.insight.close()
        await asyncio.gather(*(control.close() for control in self.controls))

    def _show(self, minutes: Sequence[Minute]) -> None:
        """What an earlier life has recorded, a point a minute, where the page has none of its own."""
        begin = time.time() - KEPT_SECONDS
        self.feed.remember(
            (minute.number * 60, {"ready": minute.workers, "target": minute.target, "need": minute.load})
            for minute in minutes
            if minute.number * 60 > begin
        )

    def _say_addresses(self) -> None:
        for address in self.listeners.addresses:
            log.info("listening on %s", address)
        if (admin := self.directory.admin) is not None:
            secure = self.parent.config.admin_ssl_certfile is not None
            log.info("probes, metrics and commands on %s", describe(admin, tls=secure))


def _template(config: Config, wiring: Wiring, ours: Sequence[socket]) -> Template | None:
    """A process that imports the application, to be forked; None where each worker is to do that by itself."""
    # Without a template, too: after an upgrade, parents that this one has not started itself become its children.
    adopts = become_subreaper()
    if config.spawn == "fresh":
        log.info("each worker gets a fresh interpreter: --spawn fresh")
        return None
    if not adopts:
        log.info("each worker gets a fresh interpreter: this system lets nobody adopt what a template has forked")
        return None
    if callable(config.app) and not can_fork_here():
        raise StartupError(
            "--log-config started a thread, and a process with threads cannot be forked: give swell.run() an import"
            " string, or take the queue out of the log configuration"
        )
    if can_fork_here():
        return Template.forked(config, wiring, ours)
    try:
        return Template.executed(config, wiring)
    except TemplateFailed as error:
        raise StartupError(str(error)) from None
