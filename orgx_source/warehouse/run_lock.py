"""Allows one run per dataset: the run holds a lock that ends with its process at the latest.

The lock is stored with the data, to exclude runs from another machine, container or working folder too: next to a
DuckDB file, or in PostgreSQL as an advisory lock. Other destinations have only the lock in dlt's working folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlt.common.destination.exceptions import SqlClientNotAvailable
from dlt.destinations.exceptions import DatabaseTerminalException
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from filelock import FileLock, Timeout

from orgx_source.errors import DatasetTakenError, MachineError
from orgx_source.times import utc_now
from orgx_source.warehouse.dialect import dialect_of

logger = logging.getLogger(__name__)

# The timeouts keep an idle transaction alive; the keepalives end that of a lost machine in two minutes. By name from
# pg_settings, because not every version has all of them.
_SETTINGS = """
select set_config(name, wanted_setting, true) from pg_settings join (values
    ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), ('transaction_timeout', '0'),
    ('tcp_keepalives_idle', '60'), ('tcp_keepalives_interval', '15'), ('tcp_keepalives_count', '4'),
    ('application_name', %s)
) as wanted (wanted_name, wanted_setting) on name = wanted_name
"""
_HOLDER = """
select pid, application_name, client_addr::text, backend_start
from pg_locks join pg_stat_activity using (pid)
where locktype = 'advisory' and granted and objsubid = 1 and (classid::bigint << 32 | objid::bigint) = %s
    and database = (select oid from pg_database where datname = current_database())
"""


BATCH = "a batch of events"
# A batch takes seconds, with half a second between two: checking this often gets the lock in between.
LOOK_AGAIN_SECONDS = 0.05
# The holder is recorded shortly after the lock is taken.
UNNAMED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Claim:
    """A request for a lock.

    Attributes:
        who: Name of the holder, shown to others.
        until: `time.monotonic` time until which to wait for a batch of events.
        since: Start of the wait.
    """

    who: str
    until: float
    since: float

    def may_wait_for(self, holder: str) -> bool:
        """Return whether to check again while the lock is held."""
        now = time.monotonic()
        is_short = BATCH in holder or (now < self.since + UNNAMED_SECONDS and not holder)
        return is_short and now < self.until


@contextmanager
def one_run_at_a_time(pipeline: Any, *, patience: float = 0.0, as_batch: bool = False) -> Iterator[None]:
    """Exclude other runs on the same dataset meanwhile.

    Args:
        pipeline: The pipeline of the dataset.
        patience: Seconds to wait for a batch of events, which takes seconds; there is no wait for a run.
        as_batch: Whether this is a batch of events, for which runs wait.

    Raises:
        DatasetTakenError: Another run has the lock; the message names it, if visible.
        MachineError: The lock file cannot be created.
        Exception: The driver's exception if the destination cannot be reached.
    """
    now = time.monotonic()
    claim = _Claim(f"{BATCH}, {_who()}" if as_batch else _who(), now + patience, now)
    with ExitStack() as held:
        home = Path(pipeline.pipelines_dir)
        home.mkdir(parents=True, exist_ok=True)
        held.enter_context(_file_lock(home / f"{pipeline.pipeline_name}.lock", pipeline.dataset_name, claim))
        with suppress(SqlClientNotAvailable):
            client = pipeline.sql_client()
            if file := lock_file(client):
                held.enter_context(_file_lock(file, client.dataset_name, claim))  # guard: one-run-per-file
            elif dialect_of(client).has_advisory_locks:
                held.enter_context(_advisory_lock(client, claim))
        yield


def lock_file(client: Any) -> Path | None:
    """Return the lock file of a dataset in a DuckDB file; None for other destinations.

    Args:
        client: dlt's SQL client.
    """
    # MotherDuck, and clients that query other files through DuckDB, have other credentials.
    if type(client.credentials) is not DuckDbCredentials:
        return None
    database = str(client.credentials.database)
    if database.startswith((":", "md:")):
        return None
    # The same for all links to the file.
    path = Path(database).resolve()
    dataset = re.sub(r"\W", "_", client.dataset_name.lower())
    # DuckDB itself reports a missing folder.
    return path.with_name(f"{path.name}.{dataset}.lock") if path.parent.is_dir() else None


@contextmanager
def _file_lock(path: Path, dataset: str, claim: _Claim) -> Iterator[None]:
    holder = path.with_suffix(".holder")
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            named = _holder_in(holder)
            if not claim.may_wait_for(named):
                raise _taken(dataset, named or "it has just begun or ended") from None
            time.sleep(LOOK_AGAIN_SECONDS)
        except OSError as error:
            raise MachineError(f"The lock {path} cannot be created: {error.strerror or error}") from None
    with ExitStack() as held:
        held.callback(lock.release)
        # For the message only: a full disk must not stop the run here.
        with suppress(OSError):
            holder.unlink(missing_ok=True)
            # Never through a link, which could name any file of the user.
            with holder.open("x") as file:
                file.write(f"{claim.who}, since {utc_now():%Y-%m-%d %H:%M:%S} UTC")
        try:
            yield
        finally:
            with suppress(OSError):
                holder.unlink()


def _holder_in(file: Path) -> str:
    """Return the holder of a lock; empty if not recorded."""
    try:
        return file.read_text()
    except OSError:
        return ""


@contextmanager
def _advisory_lock(client: Any, claim: _Claim) -> Iterator[None]:
    """Hold a lock in PostgreSQL, in an otherwise idle transaction on its own connection.

    A transaction, because a pooler such as pgbouncer may reassign a connection without one, together with the lock. A
    transaction that has read no table blocks nothing, not even vacuum.
    """
    key = int.from_bytes(hashlib.blake2b(f"orgx-sync {client.dataset_name}".encode(), digest_size=8).digest()) >> 1
    client.open_connection()
    try:
        client.execute_sql("begin")
        client.execute_sql(_SETTINGS, f"orgx-sync, {claim.who}")
        while not _try(client, key):  # guard: one-run-per-postgres-dataset
            holder = _session(client, key)
            if not claim.may_wait_for(holder):
                raise _taken(client.dataset_name, holder)
            time.sleep(LOOK_AGAIN_SECONDS)
        yield
    finally:
        # Closed without a commit: if the server has closed it already, there is nothing to release.
        with suppress(Exception):
            client.close_connection()


def _try(client: Any, key: int) -> bool:
    try:
        return bool(client.execute_sql("select pg_try_advisory_xact_lock(%s)", key)[0][0])
    except DatabaseTerminalException as error:
        logger.warning("this database has no advisory locks, so runs on other machines are not excluded: %s", error)
        return True


def _session(client: Any, key: int) -> str:
    """Return the holder of the lock, as far as visible to this role."""
    # A transaction keeps the session list of its first query.
    client.execute_sql("select pg_stat_clear_snapshot()")
    found = client.execute_sql(_HOLDER, key)
    if not found:
        return "it has just ended"
    pid, application, address, since = found[0]
    name = (application or "").removeprefix("orgx-sync, ")
    told = [name, f"from {address}" if address else "", f"session {pid}", f"since {since:%Y-%m-%d %H:%M:%S %Z}"]
    return ", ".join(filter(None, told if since else told[:3]))


def _who() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _taken(dataset: str, holder: str) -> DatasetTakenError:
    return DatasetTakenError(
        f"Another run is writing to dataset {dataset} ({holder}). Wait until it ends, then run again."
    )
