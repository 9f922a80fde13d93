"""Loads rows into PostgreSQL: keeps empty text, and limits the wait for locks.

Imported only where the driver is installed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

import psycopg2
from dlt.common.destination.configuration import CsvFormatConfiguration
from dlt.common.schema.utils import get_columns_names_with_prop, get_dedup_sort_tuple
from dlt.common.storages.file_storage import FileStorage
from dlt.destinations.exceptions import DatabaseTerminalException
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresCsvCopyJob
from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
from dlt.destinations.sql_client import raise_database_error
from dlt.destinations.sql_jobs import SqlMergeFollowupJob

from orgx_source.errors import DestinationError
from orgx_source.explain import first_words, is_refusal, missing_right, sqlstate
from orgx_source.warehouse.duckdb_file import LockPatience
from orgx_source.warehouse.schema_update import UpdatesByTable

LOCK_NOT_AVAILABLE = "55P03"
MISSING_RIGHT = "42501"
# Milliseconds.
SHORTEST_WAIT = 200
LONGEST_WAIT = 2**31 - 1
# The oldest holder of a lock on a table in the dataset; our own locks are released before this query.
_HOLDERS = """
select pid, usename, application_name, client_addr::text, state, xact_start
from pg_locks join pg_stat_activity using (pid)
where granted and pid <> all (%s) and relation in (
    select pg_class.oid from pg_class join pg_namespace on pg_namespace.oid = relnamespace where nspname = any (%s)
)
order by xact_start limit 1
"""


class PatientClient(Psycopg2SqlClient):
    """SQL client of a database, with a lock timeout.

    Attributes:
        patience: How long to wait for locks, added up; as the server is set when None.
    """

    patience: LockPatience | None = None
    _pooled = False

    def open_connection(self) -> Any:
        """Connect. A pool such as pgbouncer accepts no startup options; each transaction then sets the lock timeout."""
        wanted = self.credentials.get_query().get("options", "")
        # dlt's own option, for queries with one-part names.
        options = f"{wanted} {self._lock_option()} -csearch_path={self.fully_qualified_dataset_name()},public".strip()
        dsn = self.credentials.to_native_representation()
        if self._pooled:
            self._conn = psycopg2.connect(dsn)
        else:
            try:
                self._conn = psycopg2.connect(dsn, options=options)
            except psycopg2.OperationalError as error:
                # A failed connection has no SQLSTATE.
                if wanted or "unsupported startup parameter" not in str(error):
                    raise
                self._pooled = True
                self._conn = psycopg2.connect(dsn)
        self._reset_connection()
        return self._conn

    def _lock_option(self) -> str:
        return f"-clock_timeout={self._milliseconds()}" if self.patience is not None else ""

    def _milliseconds(self) -> int:
        # Never zero, which means forever; and some locks are legitimately held for a moment.
        left = self.patience.seconds - self.patience.waited if self.patience is not None else 0
        return max(SHORTEST_WAIT, round(min(left * 1000, LONGEST_WAIT)))

    @contextmanager
    def begin_transaction(self) -> Iterator[Any]:
        """Do several statements or none of them."""
        with super().begin_transaction() as transaction:
            if self._pooled and self.patience is not None:
                self.execute_sql(f"set local lock_timeout = {self._milliseconds()}")
            yield transaction

    @raise_database_error
    def copy(self, statement: str, file: Any) -> None:
        """Copy a file into a table."""
        with self._conn.cursor() as cursor:
            cursor.copy_expert(statement, file)

    # In dlt it is a class method, but the answer depends on this client's patience and role.
    def _make_database_exception(self, ex: Exception) -> Exception:  # type: ignore[override]
        if sqlstate(ex) == LOCK_NOT_AVAILABLE:
            # Terminal: otherwise dlt would retry it four times.
            if self.patience is not None:
                self.patience.waited = self.patience.seconds
            return DatabaseTerminalException(self._locked(ex))
        if sqlstate(ex) == MISSING_RIGHT:
            names = (f'"{name}"' for name in (self.credentials.username, self.credentials.database))
            return DatabaseTerminalException(missing_right(ex, *names))
        if is_refusal(ex) and isinstance(ex, psycopg2.OperationalError):
            return DatabaseTerminalException(ex)
        return super()._make_database_exception(ex)

    def _locked(self, error: Exception) -> DestinationError:
        return DestinationError(
            f"Another session has held a lock that this run needs for longer than --lock-timeout: {self._holder()}. "
            f"Wait until it ends, then run again. {first_words(error)}"
        )

    def _holder(self) -> str:
        """Return the holder of the lock, as far as visible to this role."""
        try:
            with closing(psycopg2.connect(self.credentials.to_native_representation())) as connection:
                cursor = connection.cursor()
                own = [self._conn.info.backend_pid, connection.info.backend_pid]
                cursor.execute(_HOLDERS, [own, [self.dataset_name, self.staging_dataset_name]])
                found = cursor.fetchone()
        except psycopg2.Error:
            found = None
        return "it has just ended" if found is None else _describe_session(*found)


def _describe_session(
    pid: int, role: str | None, application: str | None, address: str | None, state: str | None, since: datetime | None
) -> str:
    told = [
        f"session {pid}",
        f"of {role}" if role else "",
        f"application {application}" if application else "",
        f"from {address}" if address else "",
        state or "",
        f"in a transaction since {since:%Y-%m-%d %H:%M:%S %Z}" if since else "",
    ]
    return ", ".join(filter(None, told))


class CopyJob(PostgresCsvCopyJob):
    """Copies a CSV file in which null is an empty field and empty text a quoted one; dlt loads both as null."""

    def run(self) -> None:
        """Copy the file, in one transaction."""
        form = self._job_client.config.csv_format or CsvFormatConfiguration()
        client = self._job_client.sql_client
        with FileStorage.open_zipsafe_ro(self._file_path, "rb") as file:
            (names,) = csv.reader([file.readline().decode(form.encoding)], delimiter=form.delimiter)
            columns = ", ".join(map(client.escape_column_name, names))
            copy = (
                f"copy {client.make_qualified_table_name(self.load_table_name)} ({columns}) from stdin "
                f"with (format csv, delimiter '{form.delimiter}', null '', encoding '{form.encoding}')"
            )
            with client.begin_transaction():
                client.copy(copy, file)


class MergeInPlace(SqlMergeFollowupJob):
    """Updates existing rows and inserts the others; dlt deletes them first, which a foreign key may forbid."""

    @classmethod
    def gen_merge_sql(cls, table_chain: Sequence[Any], sql_client: Any) -> list[str]:
        """Return the statements that merge the staged rows; rows with duplicate keys become one."""
        table = table_chain[0]
        keys = list(map(sql_client.escape_column_name, get_columns_names_with_prop(table, "primary_key")))
        if not keys or len(table_chain) > 1 or any(get_columns_names_with_prop(table, "merge_key")):
            return super().gen_merge_sql(table_chain, sql_client)
        target, staged = sql_client.get_qualified_table_names(table["name"])
        columns = list(map(sql_client.escape_column_name, table["columns"]))
        order = ", ".join(keys)
        if sort := get_dedup_sort_tuple(table):
            order += f", {sql_client.escape_column_name(sort[0])} {sort[1]} nulls last"
        listed = ", ".join(columns)
        newest = f"(select distinct on ({', '.join(keys)}) {listed} from {staged} order by {order})"
        same = " and ".join(f"d.{key} = s.{key}" for key in keys)
        kept = ", ".join(f"d.{key}" for key in keys)
        assigned = ", ".join(f"{name} = s.{name}" for name in columns if name not in keys)
        return [
            f"delete from {target} as x using (select (array_agg(d.ctid))[1] as kept, {kept} from {target} as d "
            f"where exists (select 1 from {staged} as s where {same}) group by {kept} having count(*) > 1) as s "
            f"where x.ctid <> s.kept and {same.replace('d.', 'x.')};",
            f"update {target} as d set {assigned} from {newest} as s where {same};",
            f"insert into {target} ({listed}) select {listed} from {newest} as s "
            f"where not exists (select 1 from {target} as d where {same});",
        ]


class CopyClient(UpdatesByTable, PostgresClient):
    """Job client of a database."""

    def __init__(self, schema: Any, config: Any, capabilities: Any) -> None:
        super().__init__(schema, config, capabilities)
        plain = self.sql_client
        self.sql_client: PatientClient = PatientClient(
            plain.dataset_name, plain.staging_dataset_name, plain.credentials, plain.capabilities
        )

    def _create_merge_followup_jobs(self, table_chain: Sequence[Any]) -> Any:
        return [MergeInPlace.from_table_chain(table_chain, self.sql_client)]

    def create_load_job(self, table: Any, file_path: str, load_id: str, restore: bool = False) -> Any:
        """Return the job that loads a file."""
        job = super().create_load_job(table, file_path, load_id, restore)
        return CopyJob(file_path) if type(job) is PostgresCsvCopyJob else job
