"""What an instance remembers of its load: a bounded SQLite file in the state directory.

Per minute the load in worker-equivalents, for the forecast, for two days also the requests and the workers that were
wanted, for who wants to see them, and the latest decisions with their inputs. Never in the way: a file that is damaged
is moved aside, one that cannot be written is told about once, and the load of this life is then kept in memory alone.
Times are Unix seconds. Decides nothing. Called by the parent, on its loop: a write is one small transaction a minute
and one per decision, without waiting for the disk.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from swell.scaling import Hour
from swell.supervisor.control.protocol import Decision

__all__ = ["DAY_MINUTES", "LoadHistory", "Minute"]

log = logging.getLogger("swell")
T = TypeVar("T")

# "swel", so that nobody's other database is taken for ours and emptied.
APPLICATION_ID = 0x7377656C
VERSION = 1
PAGE = 4096
# Five weeks of minutes are about 2.5 MB, 4,000 decisions about 6 MB. SQLite itself refuses to grow beyond this.
MAX_BYTES = 16 << 20
KEPT_MINUTES = 5 * 7 * 24 * 60
KEPT_DECISIONS = 4000
# What is kept in memory to be shown, and for how long the file has it.
DAY_MINUTES, KEPT_TRAFFIC = 24 * 60, 2 * 24 * 60
# Minutes that wait while another process, the parent's successor, holds the file.
PENDING_MINUTES = 120
# Longer than any transaction of ours takes, short enough not to be felt.
BUSY_SECONDS = 0.1
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_SCHEMA = """
CREATE TABLE minutes (minute INTEGER PRIMARY KEY, load REAL, peak REAL, workers REAL, samples INTEGER);
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY, at REAL, before INTEGER, after INTEGER, rule TEXT, guard TEXT, text TEXT, inputs TEXT
);
"""
# A table of its own, which files of earlier versions get with their next use and those versions leave alone.
_TRAFFIC = """
CREATE TABLE IF NOT EXISTS traffic (minute INTEGER PRIMARY KEY, requests REAL, target REAL, samples INTEGER)
"""
# The same minute comes twice when the parent was restarted in it.
_PUT_MINUTE = """
INSERT INTO minutes VALUES (?, ?, ?, ?, ?) ON CONFLICT (minute) DO UPDATE SET
    load = (load * samples + excluded.load * excluded.samples) / (samples + excluded.samples),
    workers = (workers * samples + excluded.workers * excluded.samples) / (samples + excluded.samples),
    peak = max(peak, excluded.peak), samples = samples + excluded.samples
"""
_PUT_TRAFFIC = """
INSERT INTO traffic VALUES (?, ?, ?, ?) ON CONFLICT (minute) DO UPDATE SET
    requests = (requests * samples + excluded.requests * excluded.samples) / (samples + excluded.samples),
    target = (target * samples + excluded.target * excluded.samples) / (samples + excluded.samples),
    samples = samples + excluded.samples
"""
# What a disk that lost power leaves behind may be a table of ours and make no sense.
_NO_NUMBERS = "SELECT 1 FROM minutes WHERE typeof(load) <> 'real' OR typeof(workers) <> 'real' LIMIT 1"
_GET_DAY = """
SELECT minute, load, workers, requests, target FROM minutes LEFT JOIN traffic USING (minute)
WHERE minute > (SELECT max(minute) FROM minutes) - ? ORDER BY minute
"""


@dataclass(frozen=True, slots=True)
class Minute:
    """Means of one minute. `number` is Unix time in whole minutes, `load` in worker-equivalents, `workers` are those
    that were ready, `requests` per second; None where an earlier version has not recorded it."""

    number: int
    load: float
    workers: float
    requests: float | None
    target: float | None


@dataclass
class _Minute:
    number: int
    load: float = 0.0
    peak: float = 0.0
    workers: float = 0.0
    requests: float = 0.0
    target: float = 0.0
    samples: int = 0

    def mean(self) -> Minute:
        count = self.samples
        return Minute(self.number, self.load / count, self.workers / count, self.requests / count, self.target / count)

    def row(self) -> tuple[int, float, float, float, int]:
        return (self.number, self.load / self.samples, self.peak, self.workers / self.samples, self.samples)

    def traffic(self) -> tuple[int, float, float, int]:
        return (self.number, self.requests / self.samples, self.target / self.samples, self.samples)


class _Foreign(Exception):  # noqa: N818 - it says what it is
    """A database, but none of ours, or one of a later version."""


class LoadHistory:
    """The history at `path`, in a directory that exists; `None` keeps it in memory."""

    def __init__(self, path: Path | None, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_pages = max(16, max_bytes // PAGE)
        self._connection: sqlite3.Connection | None = None
        self._complained = self._made_room = False
        self._minute: _Minute | None = None
        self._pending: deque[_Minute] = deque(maxlen=PENDING_MINUTES)
        self._hours: dict[int, tuple[float, int]] = {}
        self._day: deque[Minute] = deque(maxlen=DAY_MINUTES)
        if path is not None:
            self._open(path)

    # Recording

    def add(self, at: float, load: float, workers: int, *, requests: float = 0.0, target: int = 0) -> None:
        """One sample: the load in worker-equivalents, the workers that were ready, requests per second, and the workers
        that were wanted. A minute is written when the next one begins."""
        if not (math.isfinite(at) and math.isfinite(load)):
            return
        number = math.floor(at / 60)
        if self._minute is not None and self._minute.number != number:
            self.flush()
        if self._minute is None:
            self._minute = _Minute(number)
        self._minute.load += max(0.0, load)
        self._minute.peak = max(self._minute.peak, load)
        self._minute.workers += workers
        self._minute.requests += requests
        self._minute.target += target
        self._minute.samples += 1

    def record(self, decision: Mapping[str, Any]) -> None:
        """One decision, as the control socket shows it."""
        row = (*(decision[key] for key in ("at", "before", "after", "rule", "guard", "text")),
               json.dumps(decision["inputs"]))  # fmt: skip
        put = "INSERT INTO decisions (at, before, after, rule, guard, text, inputs) VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._write(lambda connection: connection.execute(put, row))

    def flush(self) -> None:
        """Writes the minute in hand, and what is too old goes."""
        if self._minute is not None and self._minute.samples:
            minute, self._minute = self._minute, None
            self._pending.append(minute)
            self._count(minute.number, minute.load / minute.samples)
            self._day.append(minute.mean())
            self._hours = {hour: kept for hour, kept in self._hours.items() if hour > _hour(minute.number) - _weeks()}
        if self._pending and self._write(self._put_pending):
            self._pending.clear()

    def _put_pending(self, connection: sqlite3.Connection) -> None:
        newest = max(minute.number for minute in self._pending)
        connection.executemany(_PUT_MINUTE, [minute.row() for minute in self._pending])
        connection.executemany(_PUT_TRAFFIC, [minute.traffic() for minute in self._pending])
        connection.execute("DELETE FROM minutes WHERE minute <= ?", (newest - KEPT_MINUTES,))
        connection.execute("DELETE FROM traffic WHERE minute <= ?", (newest - KEPT_TRAFFIC,))
        connection.execute("DELETE FROM decisions WHERE id <= (SELECT max(id) FROM decisions) - ?", (KEPT_DECISIONS,))

    # Reading

    @property
    def stored(self) -> bool:
        """Whether what is recorded outlives the process."""
        return self._connection is not None

    def hours(self) -> list[Hour]:
        """The mean load of every recorded hour, the oldest first: what the forecast is made of."""
        return [Hour(number, total / count) for number, (total, count) in sorted(self._hours.items())]

    def day(self) -> list[Minute]:
        """The last day, the oldest first, without the minute in hand. The one in which a parent took over is there
        twice."""
        return list(self._day)

    def decisions(self, last: int) -> list[Decision]:
        """The latest decisions, the oldest first."""

        def read(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            query = "SELECT at, before, after, rule, guard, text, inputs FROM decisions ORDER BY id DESC LIMIT ?"
            return connection.execute(query, (max(0, last),)).fetchall()

        rows = self._guarded(read) or []
        found = []
        for at, before, after, rule, guard, text, inputs in reversed(rows):
            with contextlib.suppress(ValueError, TypeError):  # one that cannot be read is left out
                known = json.loads(inputs)
                found.append(
                    Decision(at=at, before=before, after=after, rule=rule, guard=guard, text=text, inputs=known)
                )
        return found

    def close(self) -> None:
        """Writes what is in hand and gives the file back."""
        self.flush()
        self._shut()

    # The file

    def _open(self, path: Path) -> None:
        for attempt in ("first", "second"):
            try:
                self._connect(path)
            except (sqlite3.Error, OSError, _Foreign) as error:
                self._shut()
                if attempt == "first" and (isinstance(error, _Foreign) or _is_damage(error)):
                    self._move_aside(path, error)
                    continue
                self._complain(error)
            return

    def _connect(self, path: Path) -> None:
        # SQLite would make it with the process's umask.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        self._connection = connection
        is_new = path.stat().st_size == 0
        if is_new:
            connection.execute(f"PRAGMA page_size = {PAGE}")
        # A rollback journal: one writer, and no second file that would have to be kept with the first. Nothing waits
        # for the disk: a killed process loses nothing by that, a machine that loses power at most this file.
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA max_page_count = {self._max_pages}")
        if is_new:
            connection.executescript(
                f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; {_SCHEMA} COMMIT;"
            )
        (identity,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if (identity, version) != (APPLICATION_ID, VERSION):
            raise _Foreign(f"it is none of this version's files (application {identity:#x}, version {version})")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _Foreign(verdict)
        if connection.execute(_NO_NUMBERS).fetchone() is not None:
            raise _Foreign("a minute in it has no load")
        connection.execute(_TRAFFIC)
        self._hours = {}
        self._day.clear()
        for minute, load in connection.execute("SELECT minute, load FROM minutes"):
            self._count(minute, load)
        self._day.extend(Minute(*row) for row in connection.execute(_GET_DAY, (DAY_MINUTES,)))

    def _write(self, change: Callable[[sqlite3.Connection], object]) -> bool:
        """One transaction. Whether there is nothing left to do: it is written, or there is no file."""
        if self._connection is None:
            return True

        def transaction(connection: sqlite3.Connection) -> bool:
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    change(connection)
                    cursor.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        cursor.execute("ROLLBACK")
                    raise
            return True

        if self._guarded(transaction) or self._connection is None:
            return True
        return self._made_room and bool(self._guarded(transaction))

    def _guarded(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        """Does it; what goes wrong costs the history, never the caller."""
        self._made_room = False
        if self._connection is None or self._path is None:
            return None
        try:
            return action(self._connection)
        except sqlite3.Error as error:
            if _is_damage(error):
                self._shut()
                self._move_aside(self._path, error)
                self._open(self._path)
            elif _code(error) == sqlite3.SQLITE_FULL:
                self._make_room(error)
            elif _code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                self._shut()
                self._complain(error)
        return None

    def _make_room(self, error: sqlite3.Error) -> None:
        """Half of the decisions and the older half of the minutes go: the file is as large as it may be."""
        connection = self._connection
        if connection is None:
            return
        try:
            connection.execute("DELETE FROM decisions WHERE id <= (SELECT (max(id) + min(id)) / 2 FROM decisions)")
            connection.execute(
                "DELETE FROM minutes WHERE minute <= (SELECT (max(minute) + min(minute)) / 2 FROM minutes)"
            )
            self._made_room = True
        except sqlite3.Error:
            self._shut()
            self._complain(error)

    def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _move_aside(self, path: Path, error: Exception) -> None:
        """Only the latest damaged file is kept. Its journal goes with it, it would be played into the next file."""
        aside = path.with_name(path.name + ".damaged")
        try:
            path.replace(aside)
            journal = path.with_name(path.name + "-journal")
            if journal.exists():
                journal.replace(aside.with_name(aside.name + "-journal"))
        except OSError as failure:
            self._complain(failure)
            return
        log.warning("the history of the load was moved to %s and begins anew: %s", aside, error)

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            log.warning("the history of the load is kept in memory only, %s cannot be used: %s", self._path, error)

    def _count(self, minute: int, load: float) -> None:
        total, count = self._hours.get(_hour(minute), (0.0, 0))
        self._hours[_hour(minute)] = (total + load, count + 1)


def _hour(minute: int) -> int:
    return minute // 60


def _weeks() -> int:
    return KEPT_MINUTES // 60


def _code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # the extended codes have the plain one in their low byte


def _is_damage(error: BaseException) -> bool:
    return _code(error) in _DAMAGED
