"""The inbox on disk: acknowledged events that are not in the warehouse yet.

One SQLite file in WAL mode with ``synchronous = full``: committed events survive a kill and a power cut. Waiting events
are committed together, because each commit waits for the disk.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orgx_source.errors import ConfigError, MachineError
from orgx_source.inbox.events import Event, parse_event
from orgx_source.times import utc_now

logger = logging.getLogger(__name__)

AT_ONCE = 1_000
# Bodies returned at once: parsed, they take ten times as much memory.
BYTES_AT_ONCE = 16 * 2**20
BUSY_SECONDS = 10.0
# How long ids of loaded events are kept, to detect repeats; a later repeat is merged on its id.
REMEMBERED = timedelta(days=30)
# Each step migrates from the version of its index to the next; user_version holds a file's version.
STEPS = (
    """
    create table events (
        number integer primary key autoincrement,
        id text not null unique,
        received_at text not null,
        signature_key integer not null,
        body blob,
        arrived_at text
    );
    create index events_waiting on events (number) where arrived_at is null;
    """,
    "alter table events add column digest blob;",
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The waiting events.

    Attributes:
        count: Events that are not in the warehouse yet.
        oldest: When the oldest of them was received; None if there is none.
    """

    count: int
    oldest: datetime | None


@dataclass(slots=True)
class _Arrival:
    id: str
    body: bytes
    signature_key: int
    received_at: datetime
    kept: Future[bool]


class Inbox:
    """The events of one file, which any number of threads and processes may share.

    Attributes:
        path: The file.
        arrived: Set when an event was stored; cleared by the consumer.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; create or migrate it if necessary.

        Raises:
            ConfigError: Its folder does not exist, it was created by a newer version, or it is not an inbox.
            MachineError: It cannot be opened or written.
        """
        if not path.parent.is_dir():
            raise ConfigError(f"--inbox {path}: the folder {path.parent} does not exist. Create it")
        self.path = path
        self.arrived = threading.Event()
        self._arrivals: queue.SimpleQueue[_Arrival | None] = queue.SimpleQueue()
        with self._open():
            self._place = _place_of(path)
        self._writer = threading.Thread(target=self._write, name="orgx-inbox", daemon=True)
        self._writer.start()

    def close(self) -> None:
        """Write pending events, and close the file."""
        self._arrivals.put(None)
        self._writer.join()

    def put(self, event_id: str, body: bytes, signature_key: int) -> Future[bool]:
        """Store an event.

        Args:
            event_id: Its id.
            body: The bytes as received.
            signature_key: Number of the secret that signed them, from 1.

        Returns:
            A future, done when the event is safely on disk: whether it is new. Fails with an `sqlite3.Error`, OSError
            or `OrgxError`.
        """
        kept: Future[bool] = Future()
        self._arrivals.put(_Arrival(event_id, body, signature_key, utc_now(), kept))
        return kept

    def waiting(self) -> Waiting:
        """Return the waiting events."""
        with self._open() as connection:
            sql = "select count(*), min(received_at) from events where arrived_at is null"
            count, oldest = connection.execute(sql).fetchone()
        return Waiting(count, _moment(oldest) if count else None)

    def oldest(self, most: int) -> list[Event]:
        """Return waiting events, the oldest first; a damaged one without its content.

        Args:
            most: Maximum number of events; large bodies make it less.
        """
        sql = (
            "select number, id, body, digest, received_at, signature_key from events where arrived_at is null "
            "order by number limit ?"
        )
        events, size = list[Event](), 0
        with self._open() as connection:
            for number, event_id, body, digest, received, key in connection.execute(sql, (most,)):
                size += len(body) if isinstance(body, bytes) else 0
                if events and size > BYTES_AT_ONCE:  # guard: bytes-of-a-batch
                    break
                events.append(Event(number, event_id, _content(body, digest), _moment(received), key))
        return events

    def settle(self, events: Sequence[Event]) -> None:
        """Mark events as loaded, and delete their bodies here."""
        now = utc_now()
        with self._open() as connection, connection:
            connection.executemany(
                "update events set arrived_at = ?, body = null where number = ?",
                [(now.isoformat(), event.number) for event in events],
            )
            connection.execute("delete from events where arrived_at < ?", ((now - REMEMBERED).isoformat(),))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = _connect(self.path)
        except sqlite3.Error as error:
            raise _trouble(self.path, error) from None
        try:
            # The file may be new: someone may have deleted the old one.
            _upgrade(connection, self.path)
            yield connection
        except sqlite3.Error as error:
            raise _trouble(self.path, error) from None
        finally:
            connection.close()

    # -- the single writer of new events -------------------------------------------------------------------------------

    def _write(self) -> None:
        connection: sqlite3.Connection | None = None
        while (first := self._arrivals.get()) is not None:
            gathered, is_last = self._gather(first)
            # Skip cancelled futures; from here on, they cannot be cancelled.
            batch = [arrival for arrival in gathered if arrival.kept.set_running_or_notify_cancel()]
            try:
                connection = connection or self._reopen()
                new = _insert(connection, batch)
                if not self._is_in_place():  # guard: answered-means-in-the-inbox
                    logger.error(
                        "%s was deleted or replaced, and the events waiting in it are lost; orgx-sync run reads what "
                        "they were about",
                        self.path,
                    )
                    connection.close()
                    connection = self._reopen()
                    new = _insert(connection, batch)
            except BaseException as error:
                # After a disk error, the connection is not reused for the next commit.
                with suppress(sqlite3.Error):
                    if connection is not None:
                        connection.close()
                connection = None
                for arrival in batch:
                    arrival.kept.set_exception(error)
            else:
                for arrival, is_new in zip(batch, new, strict=True):
                    arrival.kept.set_result(is_new)
                self.arrived.set()
            if is_last:
                break
        if connection is not None:
            connection.close()

    def _reopen(self) -> sqlite3.Connection:
        connection = _connect(self.path)
        _upgrade(connection, self.path)
        self._place = _place_of(self.path)
        return connection

    def _is_in_place(self) -> bool:
        """Return whether the open file is still the one at the path: SQLite writes to a deleted file without error."""
        try:
            return _place_of(self.path) == self._place
        except FileNotFoundError:
            return False

    def _gather(self, first: _Arrival) -> tuple[list[_Arrival], bool]:
        """Return the events to write, and whether they are the last."""
        batch = [first]
        while len(batch) < AT_ONCE:
            try:
                arrival = self._arrivals.get_nowait()
            except queue.Empty:
                break
            if arrival is None:
                return batch, True
            batch.append(arrival)
        return batch, False


def _place_of(path: Path) -> tuple[int, int]:
    """Return what identifies the file at a path."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level="IMMEDIATE", check_same_thread=False)
    connection.execute("pragma synchronous = full")  # guard: answered-means-on-disk
    return connection


def _insert(connection: sqlite3.Connection, batch: Sequence[_Arrival]) -> list[bool]:
    """Commit events, and return for each whether it is new."""
    new = []
    try:
        connection.execute("begin immediate")
        for arrival in batch:
            digest = hashlib.sha256(arrival.body).digest()
            values = (arrival.id, arrival.received_at.isoformat(), arrival.signature_key, arrival.body, digest)
            cursor = connection.execute(
                "insert into events (id, received_at, signature_key, body, digest) values (?, ?, ?, ?, ?) "
                "on conflict (id) do nothing",
                values,
            )
            new.append(cursor.rowcount > 0)
            if not new[-1]:
                _compare(connection, arrival.id, digest)
        connection.commit()
    except BaseException:
        with suppress(sqlite3.Error):
            connection.rollback()
        raise
    return new


def _moment(received_at: Any) -> datetime:
    """Return when an event was received; now, if the file was damaged since."""
    try:
        moment = datetime.fromisoformat(received_at)
        return moment if moment.tzinfo else utc_now()
    except (TypeError, ValueError):
        return utc_now()


def _content(body: bytes | None, digest: bytes | None) -> dict[str, Any] | None:
    """Return the content of an event; None if the file was damaged since its body was stored."""
    if not isinstance(body, bytes) or digest not in (None, hashlib.sha256(body).digest()):  # guard: damaged-bodies
        return None
    parsed = parse_event(body)
    return parsed and parsed[1]


def _compare(connection: sqlite3.Connection, event_id: str, digest: bytes) -> None:
    found = connection.execute("select digest from events where id = ?", (event_id,)).fetchone()
    if found and found[0] is not None and found[0] != digest:
        logger.warning("event %r was received again with a different body; the first one is kept", event_id)


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    try:
        connection.execute("pragma journal_mode = wal")
        (version,) = connection.execute("pragma user_version").fetchone()
        if version > len(STEPS):
            raise ConfigError(f"{path} is from a newer version of orgx-source; update, or choose another --inbox.")
        if version == len(STEPS):
            return
        connection.execute("begin immediate")
        # Another thread or process may have done it meanwhile.
        (version,) = connection.execute("pragma user_version").fetchone()
        for statement in "".join(STEPS[version:]).split(";"):
            connection.execute(statement)
        connection.execute(f"pragma user_version = {len(STEPS)}")
        connection.commit()
    except sqlite3.Error as error:
        raise _trouble(path, error) from None


def _trouble(path: Path, error: sqlite3.Error) -> MachineError | ConfigError:
    if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
        return ConfigError(f"{path} is not an inbox; choose another --inbox.")
    if "malformed" in str(error):
        return MachineError(
            f"The inbox {path} is damaged ({error}). Stop the listener, move the file away and start again; "
            "orgx-sync run reads what its events were about."
        )
    return MachineError(f"The inbox {path} cannot be used: {error}")


def wait_for(event: threading.Event, seconds: float, stop: threading.Event) -> None:
    """Wait until an event is set, the time is up or a stop is requested."""
    until = time.monotonic() + seconds
    while not stop.is_set() and time.monotonic() < until and not event.wait(0.1):
        pass
