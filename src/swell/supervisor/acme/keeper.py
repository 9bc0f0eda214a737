"""Which certificate is due, who orders it, and what is told of it. On the parent's loop, from start to end.

One order at a time, and one parent at a time: others of this user wait for the lock and take over what they find. What
fails keeps the certificate that is there. Used by `main`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from swell.config import Config
from swell.errors import ConfigError, StartupError
from swell.supervisor.acme import errand
from swell.supervisor.acme.errand import Issued, Order, OrderFailed, Shown
from swell.supervisor.acme.schedule import Fault, pause, renewal
from swell.supervisor.acme.state import Account, AcmeState, Record
from swell.supervisor.runtime import state_directory

if TYPE_CHECKING:
    from swell.supervisor.parent import Parent
    from swell.supervisor.tls import TlsForWorkers

__all__ = ["CertificateKeeper", "Ordering"]

log = logging.getLogger("swell")

# The clock may be set meanwhile.
LOOK_SECONDS = 3600.0
# Another parent orders: it takes a few seconds for each name.
BUSY_SECONDS = 5.0


class Ordering(Protocol):
    """See `errand.run`."""

    def __call__(
        self, order: Order, /, show: Callable[[Shown], Awaitable[None]], known: Callable[[Account], None]
    ) -> Awaitable[Issued]: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a test has others of. `chance` is evenly spread over [0, 1)."""

    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


class CertificateKeeper:
    """The certificates of --acme-domain."""

    def __init__(self, config: Config, surroundings: Surroundings | None = None) -> None:
        """Raises `ConfigError` without the library, `StartupError` without a place for the certificates."""
        try:
            metadata.distribution("acme")
        except metadata.PackageNotFoundError:
            raise ConfigError("--acme-domain needs certbot's library acme: pip install 'swell[acme]'") from None
        self._config = config
        self._around = surroundings or Surroundings()
        self._authority = urlsplit(config.acme_directory).netloc
        self._state = AcmeState(state_directory("acme", config.state_dir), config.acme_directory)
        # What could not be written down.
        self._unwritten: dict[str, Record] = {}
        try:
            self._state.prepare(config.acme_domain)
        except OSError as error:
            raise StartupError(
                f"cannot write certificates into {self._state.certificate('').parent}: {error.strerror or error};"
                " choose another --state-dir"
            ) from None

    def served(self, config: Config) -> Config:
        """The same with our certificates behind those that are named."""
        files = tuple(str(self._state.certificate(name)) for name in config.acme_domain)
        keys = config.ssl_keyfile or config.ssl_certfile
        return dataclasses.replace(config, ssl_certfile=(*config.ssl_certfile, *files), ssl_keyfile=(*keys, *files))

    def describe(self) -> list[dict[str, Any]]:
        """What `swell status` says: Unix times, None for what is not yet or was never."""
        found = []
        for name in self._config.acme_domain:
            record = self._record(name)
            found.append(
                {
                    "name": name,
                    "authority": self._authority,
                    "not_after": record.not_after or None,
                    "renew_at": record.renew_at or None,
                    "retry_at": record.retry_at or None,
                    "trouble": record.trouble or None,
                }
            )
        return found

    async def run(self, parent: Parent, tls: TlsForWorkers) -> None:
        """Orders what is due, until it is cancelled."""
        while parent.on_trial or parent.state == "starting":
            await parent.wait_changed()

        async def show(shown: Shown) -> None:
            await tls.answer(parent, shown.challenges, shown.answers)

        async def order(
            what: Order, /, show: Callable[[Shown], Awaitable[None]], known: Callable[[Account], None]
        ) -> Issued:
            return await errand.run(what, parent.reaper, show, known)

        async def ending() -> None:
            while not parent.ending:
                await parent.wait_changed()

        async def renew() -> None:
            await tls.renew(parent)

        work = asyncio.ensure_future(self.keep(order, show, renew))
        over = asyncio.ensure_future(ending())
        try:
            await asyncio.wait((work, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Nobody would answer the authority any more: that is no failure of the order's.
            work.cancel()
            over.cancel()
            await asyncio.wait((work, over))
        if not work.cancelled() and (error := work.exception()) is not None:
            log.critical("ACME: certificates are not renewed any more; please report this", exc_info=error)

    async def keep(
        self, order: Ordering, show: Callable[[Shown], Awaitable[None]], renew: Callable[[], Awaitable[None]]
    ) -> None:
        """Orders what is due with `order`, says what authorities are to find with `show`, and has new certificates
        served with `renew`."""
        around, names = self._around, self._config.acme_domain
        for name in names:
            self._tell_outstanding(name, self._record(name))
        while True:
            now = around.clock()
            first = min(self._record(name).due for name in names)
            if first > now:
                await around.sleep(min(first - now, LOOK_SECONDS))
                continue
            with self._state.locked() as ours:
                if ours:
                    for name in names:
                        # Who had the lock before may have done it.
                        if self._record(name).due <= around.clock():
                            record = await self._obtain(name, order, show)
                            if record is not None:
                                await renew()
                                self._tell_obtained(name, record)
            if not ours:
                await around.sleep(BUSY_SECONDS)

    def _record(self, name: str) -> Record:
        return self._unwritten.get(name) or self._state.record(name)

    async def _obtain(self, name: str, order: Ordering, show: Callable[[Shown], Awaitable[None]]) -> Record | None:
        """One order. Returns what is known of the new certificate; None, with the reason told, when there is none."""
        config, around, before = self._config, self._around, self._record(name)
        what = Order(
            directory=config.acme_directory,
            authorities=config.acme_ca_file or "",
            email=config.acme_email or "",
            account=self._state.account,
            name=name,
            kind=config.acme_challenge,
        )

        def known(account: Account) -> None:
            self._state.account = account

        shown = False

        async def noted(what: Shown) -> None:
            nonlocal shown
            shown = True
            await show(what)

        try:
            # What cannot be kept is not ordered: the authority counts.
            self._state.write(name, before)
            issued = await order(what, show=noted, known=known)
            renew_at = renewal(issued.not_before, issued.not_after, around.chance())
            record = Record(issued.not_before, issued.not_after, renew_at)
            self._state.store(name, issued.pem, record)
        except OrderFailed as failure:
            self._failed(name, before, str(failure), failure.fault, failure.asked)
        except OSError as error:
            self._failed(name, before, f"cannot write {error.filename}: {error.strerror or error}", Fault.REFUSED, 0.0)
        else:
            self._unwritten.pop(name, None)
            return record
        finally:
            if shown:
                await show(Shown())
        return None

    def _tell_obtained(self, name: str, record: Record) -> None:
        log.info(
            "ACME: %s has a certificate of %s until %s, to be renewed at %s",
            name,
            self._authority,
            _shown(record.not_after),
            _shown(record.renew_at),
        )

    def _failed(self, name: str, before: Record, trouble: str, fault: Fault, asked: float) -> None:
        failures = before.failures + 1
        wait = pause(fault, failures, asked, self._around.chance())
        retry_at = self._around.clock() + wait
        record = dataclasses.replace(before, failures=failures, retry_at=retry_at, trouble=trouble)
        try:
            self._state.write(name, record)
        except OSError:
            self._unwritten[name] = record
        else:
            self._unwritten.pop(name, None)
        # Once for each reason; after that it is in `swell status`.
        level = logging.DEBUG if trouble == before.trouble else logging.ERROR
        log.log(level, "ACME: no certificate for %s: %s; %s", name, trouble, self._outlook(record))

    def _tell_outstanding(self, name: str, record: Record) -> None:
        if record.trouble:
            log.warning("ACME: no certificate for %s yet: %s; %s", name, record.trouble, self._outlook(record))

    def _outlook(self, record: Record) -> str:
        now = self._around.clock()
        kept = f"the one that is there is good until {_shown(record.not_after)}" if record.not_after > now else ""
        again = f"the next attempt is at {_shown(record.retry_at)}"
        return f"{again}; {kept}" if kept else again


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "minutes")
