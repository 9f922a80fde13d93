"""Queries our tables in the destination through dlt's SQL client.

A table or schema that does not exist yet reads as empty. It writes only the views of versions, and marks loads that do
not count. Differences between databases are in the dialect; the marts are in `marts`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

import pyarrow as pa
from dlt.common.destination.exceptions import DestinationUndefinedEntity, SqlClientNotAvailable
from dlt.destinations.exceptions import DatabaseTerminalException
from dlt.pipeline.exceptions import PipelineStepFailed

from orgx_source.errors import ConfigError, DestinationError, OrgxError, TableRefusedError
from orgx_source.explain import describe_trouble, explain, first_words, foreseen, root_cause
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.rows.handed import HEX_DIGITS
from orgx_source.rows.known_rows import KnownRow, KnownRows
from orgx_source.rows.shape import ARROW_TYPES, canonical_json, recanonical
from orgx_source.tables import SYNC_LOG, ColumnType, Table, table_of
from orgx_source.warehouse.dialect import LOADED_TYPES, TEXT_KINDS, TIME_KINDS, dialect_of
from orgx_source.warehouse.duckdb_file import FileClient, LockPatience
from orgx_source.warehouse.postgres import postgres_exact

IDS_AT_ONCE = 500
ROWS_AT_ONCE = 10_000

T = TypeVar("T")


class _Names(dict[str, str]):
    """Names in a query: ``{alias}`` is one of the tables, any other ``{name}`` a column."""

    def __init__(self, client: Any, **tables: str) -> None:
        super().__init__({alias: client.make_qualified_table_name(name) for alias, name in tables.items()})
        self._client = client

    def __missing__(self, column: str) -> str:
        return str(self._client.escape_column_name(column))


class _UndoError(Exception):
    """Rolls back a transaction."""


class Warehouse:
    """The dataset of one pipeline.

    All SQL runs in a dedicated thread: dlt keeps its configuration contexts per thread, and those of the extraction
    pool are shared and break if two tables open a connection at once.

    Attributes:
        can_be_asked: False for destinations without SQL; then every row counts as changed.
        trusted: Whether stored rows are assumed to match their hashes.
    """

    def __init__(self, pipeline: Any, patience: LockPatience | None = None, *, trusted: bool = True) -> None:
        """Prepare to query the dataset; each query opens it.

        Args:
            pipeline: The pipeline that fills it.
            patience: How long to wait for a DuckDB file that another process has open, or for a lock in PostgreSQL; by
                default not at all.
            trusted: Whether stored rows are assumed to match their hashes.
        """
        self.trusted = trusted
        self._pipeline = pipeline
        self._patience = patience or LockPatience()
        if patience is not None and isinstance(pipeline.destination, postgres_exact):
            # Also for dlt's connections.
            pipeline.destination.patience = patience
        self._sql: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="orgx-warehouse")
        self._layout: dict[str, dict[str, tuple[str, bool]]] | None = None
        self._complete: set[str] = set()
        self._newest: str | None = None
        self._holders = 0
        self._succeeded = False
        self._held = ExitStack()
        try:
            self.can_be_asked = self._ask(self._has_sql)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True)

    @property
    def dataset(self) -> str:
        """Return the name of the dataset."""
        return str(self._pipeline.dataset_name)

    def require_sql(self, so: str) -> None:
        """Refuse a destination without SQL.

        Args:
            so: The consequence, for the message.

        Raises:
            ConfigError: The destination does not support SQL.
        """
        if not self.can_be_asked:
            raise ConfigError(f"This destination does not support SQL, so {so}.")

    def check_names(self) -> None:
        """Refuse a dataset whose tables cannot be named or fully read.

        Raises:
            ConfigError: Its name is reserved by the database, DuckDB cannot distinguish it from the file, or row-level
                security hides rows.
        """
        if self.can_be_asked:
            self._ask(self._compare_names)

    def _compare_names(self) -> None:
        with self._client() as client:
            dialect = dialect_of(client)
            if dialect.is_reserved(client.dataset_name.lower()):
                raise ConfigError(
                    f"The name {client.dataset_name} is reserved by the database; choose another dataset name "
                    "(--dataset)"
                )
            if hidden := dialect.hidden_tables(client, client.dataset_name):
                raise ConfigError(
                    f"This role does not see all rows of {', '.join(hidden)} in {client.dataset_name}: row-level "
                    "security hides some, and they would be inserted again. Let the role bypass it "
                    "(ALTER ROLE ... BYPASSRLS), or give it a policy FOR ALL USING (true)"
                )
            if file := dialect.clashing_file(client):
                own = file.partition(".")[0].lower() == client.dataset_name.lower()
                raise ConfigError(
                    f"The DuckDB file {file} has the same name as the dataset {client.dataset_name}, so DuckDB cannot "
                    "read its tables. Rename one of them, for example "
                    f'destination=dlt.destinations.duckdb("{client.dataset_name}_warehouse.duckdb")'
                    if own
                    else f"The DuckDB file {file} has the same name as a schema that every file has, so DuckDB cannot "
                    "read its tables. Rename the file"
                )

    def describe_triggers(self, tables: Collection[str]) -> list[str]:
        """Return a message for each trigger or rule that applies to loads into one of these tables."""
        if not self.can_be_asked:
            return []
        found = self.with_client(lambda client: dialect_of(client).triggers(client, client.dataset_name))
        return [
            f"{name} has the {trigger}, which can change or drop rows while they are loaded. orgx-sync verify compares "
            f"the stored values with OrgX; the owner of {name} can drop it."
            for name, trigger in found
            if table_of(name) in tables
        ]

    def remembered(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fetch what earlier runs stored: the state of each table, and its columns in dlt's schema.

        Raises:
            DestinationError: The destination cannot be reached.
        """
        try:
            # For a machine that has neither.
            self._pipeline.sync_destination()
        except PipelineStepFailed as error:
            cause = root_cause(error)
            # dlt treats an interrupt as a failure of the step.
            raise cause if isinstance(cause, KeyboardInterrupt) else explain(error) from None
        states = self._pipeline.state.get("sources", {}).get("orgx", {}).get("resources", {})
        if "orgx" not in self._pipeline.schema_names:
            return states, {}
        found = self._pipeline.schemas["orgx"].tables
        return states, {name: dict(found[name].get("columns", {})) for name in found}

    def known_rows(self, table: Table, types: ColumnTypes, only: Sequence[str] | None = None) -> KnownRows:
        """Return id to hash of every row of a table, including deleted ones.

        Args:
            table: The table.
            types: The types of its columns.
            only: Ids of the rows to query; by default all.
        """
        known = KnownRows()
        if not self.can_be_asked:
            return known
        if table.append_only:
            columns = f"{{{table.key}}}, '', null, null, null"
        else:
            present = self.columns(table.name) or []
            texts = {name for name in present if types.get(name) == "text"}
            scope = [f"{{{name}}}" for name in table.workspace if name in texts]
            workspace = f"coalesce({', '.join(scope)}, null)" if scope else "null"
            told = table.updated in present and types.get(table.updated) == "timestamp"
            updated = self._ask(self._epoch, table.updated) if told else "null"
            columns = f"{{{table.key}}}, {{_row_hash}}, {{deleted_at}}, {workspace}, {updated}"

        def add(rows: Sequence[tuple[Any, ...]]) -> None:
            ids, hashes, deleted, workspaces, updated = zip(*rows, strict=True)
            fetched[0] += len(ids)
            gone = [time is not None for time in deleted]
            known.add(ids, [text or "" for text in hashes], workspaces, gone, list(map(_seconds, updated)))

        fetched = [0]
        for where, values in _wheres(table.key, only):
            self._ask(self._fetch, f"select {columns} from {{table}}{where}", values, {"table": table.name}, add)
        if fetched[0] > len(known):
            sql = f"select {{{table.key}}} from {{table}} group by {{{table.key}}} having count(*) > 1"
            known.doubled = [row[0] for row in self._select(sql, table=table.name) if row[0] in known]
        return known

    def versions_in_doubt(self, table: Table) -> dict[str, KnownRow] | None:
        """Return the latest version of each row in history if the history may differ from the table; else None.

        They may differ after an incomplete load that was lost with its machine, if table and history are of different
        age, and if someone deleted versions: the stored version of each row must be one of its versions in history.
        """
        if not table.keeps_history or self.columns(table.name) is None:
            return None
        if self.columns(table.history) is None:
            return {}
        key = f"{{{table.key}}}"
        version = f"{key}, {{_row_hash}}"  # guard: versions-that-someone-deleted
        # No table aliases: a column from OrgX with the same name would be confused with it.
        unmatched = "select count(*) from (select {0} from {{one}} except select {0} from {{other}}) unmatched"
        differ = any(
            int(self._select(unmatched.format(what), one=one, other=other)[0][0])
            for one, other, what in ((table.name, table.history, version), (table.history, table.name, key))
        )
        doubts = differ or self.has_unfinished_rows(table)
        return self.latest_versions(table) if doubts else None

    def has_unfinished_rows(self, table: Table) -> bool:
        """Return whether a table or its history has rows of a load that was not completed."""
        sql = (
            "select count(*) from {one} where {_dlt_load_id} not in (select {load_id} from {loads} where {status} = 0)"
        )
        return any(int(self._select(sql, one=name, loads="_dlt_loads")[0][0]) for name in (table.name, table.history))

    def latest_versions(self, table: Table, only: Sequence[str] | None = None) -> dict[str, KnownRow]:
        """Return the latest version of each row in history.

        Args:
            table: The table.
            only: Ids of the rows to query; by default all.
        """
        key = f"{{{table.key}}}"
        columns = f"{key}, {{_row_hash}}, {{deleted_at}}, {{valid_from}}"
        rows: list[tuple[Any, ...]] = []
        for where, values in _wheres(table.key, only):
            numbered = (
                f"row_number() over (partition by {key} order by {{valid_from}} desc) as n from {{history}}{where}"
            )
            sql = f"select {columns} from (select {columns}, {numbered}) v where n = 1"
            rows += self._select(sql, *values, history=table.history)
        return {row[0]: KnownRow(row[1] or "", row[2] is not None, since=_utc(row[3])) for row in rows}

    def newest_stamp(self, table: Table) -> datetime | None:
        """Return the latest time of any version of the table."""
        found = self._select("select max({last_changed_at}) from {table}", table=table.name)
        if table.keeps_history:
            found += self._select("select max({valid_from}) from {table}", table=table.history)
        return max((_utc(row[0]) for row in found if row[0] is not None), default=None)

    def ids_made_after(self, table: Table, types: ColumnTypes, moment: datetime, until: datetime) -> list[str]:
        """Return the ids of living rows created between two times, exclusive; none if rows have no time."""
        made = table.created
        if types.get(made) != "timestamp" or made not in (self.columns(table.name) or ()):
            return []
        living = "" if table.append_only else "{deleted_at} is null and "
        sql = f"select {{{table.key}}} from {{table}} where {living}{{{made}}} > %s and {{{made}}} < %s"
        return [row[0] for row in self._select(sql, moment, until, table=table.name)]

    def has_loads(self, load_ids: Sequence[str]) -> bool:
        """Return whether all these loads are complete; True if the destination cannot be queried."""
        if not self.can_be_asked:
            return True
        # Every table of a run asks for loads of earlier runs; those that are complete stay so unless they are revoked.
        if not self._complete.issuperset(load_ids):
            rows = self._select("select {load_id} from {table} where {status} = 0", table="_dlt_loads")
            self._complete = {row[0] for row in rows}
        return self._complete.issuperset(load_ids)

    def newest_load(self) -> str:
        """Return the id of the newest complete load; ids are times, and empty means none."""
        rows = self._select("select max({load_id}) from {table} where {status} = 0", table="_dlt_loads")
        return str(rows[0][0] or "") if rows else ""

    def note_newest(self, schema: str) -> None:
        """Record the newest complete load of a dlt schema, for `has_other_loads`."""
        self._newest = self._newest_of(schema)

    def has_other_loads(self, schema: str) -> bool:
        """Return whether the newest load is not the recorded one: rows read since then are not changes to these.

        The record is valid once, because a load follows; without a record, the result is False.
        """
        expected, self._newest = self._newest, None
        return expected is not None and self._newest_of(schema) != expected

    def _newest_of(self, schema: str) -> str:
        sql = "select max({load_id}) from {table} where {status} = 0 and {schema_name} = %s"
        rows = self._select(sql, schema, table="_dlt_loads")
        return str(rows[0][0] or "") if rows else ""

    def arrived(self, name: str, key: Sequence[str], load_id: str) -> tuple[int, int, int | None]:
        """Return the rows, distinct keys and checksum stored in a table under a load's id.

        Args:
            name: Name of the table in the warehouse.
            key: Names of the key columns.
            load_id: The load.

        Returns:
            The checksum is that of `Handed`; None if the database cannot compute it.
        """
        has_hash = "_row_hash" in (self.columns(name) or ())
        digits = f"substr({'{_row_hash}' if has_hash else f'md5({{{key[0]}}})'}, 1, {HEX_DIGITS})"
        number = self._ask(self._hex_number, digits)
        checksum = f"cast(coalesce(sum({number}), 0) as varchar)" if number else "null"
        keys = ", ".join(f"{{{column}}}" for column in key)
        mine = "from {table} where {_dlt_load_id} = %s"
        sql = f"select count(*), (select count(*) from (select distinct {keys} {mine}) k), {checksum} {mine}"
        rows = self._select(sql, load_id, load_id, table=name)
        if not rows:
            return 0, 0, 0
        count, distinct, total = rows[0]
        return int(count), int(distinct), None if total is None else int(total)

    def _epoch(self, column: str) -> str:
        with self._client() as client:
            return dialect_of(client).epoch(f"{{{column}}}")

    def _hex_number(self, digits: str) -> str | None:
        with self._client() as client:
            return dialect_of(client).hex_number(digits)

    def doubled_versions(self, table: Table, types: ColumnTypes) -> Iterator[pa.Table]:
        """Yield one row for each duplicate version in a table's history."""
        if not table.keeps_history or not self.can_be_asked:
            return
        key = f"{{{table.key}}}, {{valid_from}}"
        sql = f"select {key} from {{history}} group by {key} having count(*) > 1"
        doubled = {(row[0], _utc(row[1])) for row in self._select(sql, history=table.history)}
        kinds: dict[str, ColumnType] = {**types, "valid_from": "timestamp"}
        for rows in self._fetch_in_chunks(table.history, table.key, {row_id for row_id, _ in doubled}, kinds):
            versions = zip(*(rows.column(name).to_pylist() for name in (table.key, "valid_from")), strict=True)
            found = {version: place for place, version in enumerate(versions) if version in doubled}
            yield rows.take(pa.array(found.values(), pa.int64()))

    def delete_load(self, name: str, load_id: str) -> None:
        """Delete the rows that a load wrote to a table.

        Raises:
            DestinationError: The destination cannot be reached.
        """
        sql = "delete from {table} where {_dlt_load_id} = %s"
        self._ask(self._execute, name, sql, [load_id])

    def amend_load(self, name: str, load_id: str, values: Mapping[str, Any], ids: Sequence[str] = ()) -> None:
        """Set columns of a load's rows.

        Args:
            name: The table.
            load_id: The load.
            values: Column to its value.
            ids: Ids of the rows; by default all.

        Raises:
            DestinationError: The destination cannot be reached.
        """
        settings = ", ".join(f"{{{column}}} = %s" for column in values)
        which = f" and {{id}} in ({', '.join(['%s'] * len(ids))})" if ids else ""
        sql = f"update {{table}} set {settings} where {{_dlt_load_id}} = %s{which}"
        self._ask(self._execute, name, sql, [*values.values(), load_id, *ids])

    def revoke_loads(self, load_ids: Sequence[str]) -> None:
        """Mark completed loads as not counting, so that their cursors are not trusted.

        Raises:
            DestinationError: The destination cannot be reached.
        """
        self._newest = None
        marks = ", ".join(["%s"] * len(load_ids))
        sql = f"update {{table}} set {{status}} = 1 where {{load_id}} in ({marks})"
        self._complete -= set(load_ids)
        self._ask(self._execute, "_dlt_loads", sql, load_ids)

    def revoke_loads_after(self, moment: float) -> list[str]:
        """Revoke complete loads with an id after this Unix time, and return them.

        Ids are times, and dlt restores the state of the newest load: after one run by a clock in the future, each
        machine without a state would continue from the state of that run, every night.
        """
        rows = self._select(
            "select {load_id} from {table} where {status} = 0 and {load_id} > %s", str(moment), table="_dlt_loads"
        )
        if ahead := [row[0] for row in rows]:
            self.revoke_loads(ahead)
        return ahead

    def _execute(self, name: str, sql: str, values: Sequence[Any]) -> None:
        with self._client() as client:
            client.execute_sql(sql.format_map(_Names(client, table=name)), *values)

    def count_living(self, table: Table) -> int | None:
        """Return the number of rows not marked as deleted; None if the destination cannot be queried."""
        if not self.can_be_asked:
            return None
        where = "" if table.append_only else " where {deleted_at} is null"
        rows = self._select("select count(*) from {table}" + where, table=table.name)
        return int(rows[0][0]) if rows else 0

    def columns(self, table_name: str) -> list[str] | None:
        """Return the column names of a table or view; None if it does not exist or cannot be read."""
        return self._ask(self._describe_columns, table_name) if self.can_be_asked else None

    def _describe_columns(self, table_name: str) -> list[str] | None:
        with self._client() as client:
            sql = f"select * from {client.make_qualified_table_name(table_name)} where 1 = 0"
            try:
                with client.execute_query(sql) as cursor:
                    return [column[0] for column in cursor.description]
            except (DestinationUndefinedEntity, DatabaseTerminalException):
                # DuckDB rejects a view whose table has gained columns.
                return None

    def columns_of(self, tables: Collection[str]) -> dict[str, list[str] | None]:
        """Return `columns` of several tables or views, with one query if possible."""
        if not self.can_be_asked:
            return dict.fromkeys(tables)
        layout = self._ask(self._read_layout)
        if layout is None:
            return {name: self.columns(name) for name in tables}
        return {name: list(layout[name]) if name in layout else None for name in tables}

    def _read_layout(self) -> dict[str, dict[str, tuple[str, bool]]] | None:
        with self._client() as client:
            rows = dialect_of(client).layout(client, client.dataset_name)
        if rows is None:
            return None
        self._layout = {}
        for table, column, kind, generated in rows:
            self._layout.setdefault(table, {})[column] = kind, generated
        return self._layout

    def foreign_columns(self, table: Table, own: Collection[str]) -> dict[str, ColumnType | None]:
        """Return the columns that someone else added to a table or its history.

        Args:
            table: The table.
            own: Columns created by loads.

        Returns:
            Column to its type if loads use that type; else None, and nothing is written there.
        """
        found: dict[str, ColumnType | None] = {}
        if not self.can_be_asked:
            return found
        for name in (table.name, table.history):
            for column, (kind, generated) in self._layout_of(name).items():
                if column not in own:
                    loaded = None if generated else LOADED_TYPES.get(kind)
                    found[column] = loaded if found.get(column, loaded) == loaded else None
        return found

    def _layout_of(self, name: str) -> dict[str, tuple[str, bool]]:
        layout = self._layout if self._layout is not None else self._ask(self._read_layout)
        return (layout or {}).get(name, {})

    def check_types(self, table: Table, types: ColumnTypes) -> None:
        """Refuse a table if someone changed the type of a column that reads of it need.

        Raises:
            TableRefusedError: A key or hash is no longer text, or a time is not one.
        """
        if not self.can_be_asked:
            return
        wanted = dict.fromkeys((table.key, "_row_hash"), TEXT_KINDS)
        times = (name for name, kind in types.items() if kind == "timestamp")
        wanted |= dict.fromkeys(("last_changed_at", "valid_from", *times), TIME_KINDS)
        for name in (table.name, table.history):
            for column, (kind, _) in self._layout_of(name).items():
                if not kind.startswith(wanted.get(column, ("",))):  # guard: types-that-a-read-needs
                    raise TableRefusedError(
                        name,
                        f"The column {column} of {name} has the type {kind}. Restore the type that it was loaded with "
                        f"({wanted[column][0]}), or drop {name}: the next run then recreates it.",
                    )

    def missing(self, wanted: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
        """Return what was dropped from the dataset: table to its missing columns, or to none if the table is missing.

        Args:
            wanted: Table to the columns created by loads.
        """
        found: dict[str, list[str]] = {}
        with self.kept_open():
            stored = self.columns_of(wanted)
            for name, columns in wanted.items():
                present = stored[name]
                if present is None:
                    found[name] = []
                elif lost := sorted(set(columns) - set(present)):
                    found[name] = lost
        return found

    def make_views(self, tables: Iterable[Table]) -> None:
        """Create or replace the view of versions of each table whose history has new columns.

        Raises:
            ConfigError: The destination denies permission.
            OrgxError: It refuses for another reason.
        """
        with self.kept_open():
            self._renew_views(tables)

    def _renew_views(self, tables: Iterable[Table]) -> None:
        kept = [table for table in tables if table.keeps_history]
        stored = self.columns_of([name for table in kept for name in (table.history, table.versions)])
        for table in kept:
            columns = stored[table.history]
            if columns is None:
                continue
            # New columns are last in the history and therefore in the view: some databases only allow appending.
            lead = [table.key, "valid_from", "valid_to", "is_current"]
            shown = [*lead, *(name for name in columns if name not in lead)]
            if stored[table.versions] != shown:
                self._ask(self._make_view, table, shown)

    def _make_view(self, table: Table, columns: list[str]) -> None:
        with self._client() as client:
            quote = client.escape_column_name
            window = (
                f"lead({quote('valid_from')}) over (partition by {quote(table.key)} order by {quote('valid_from')})"
            )
            special = {
                "valid_to": f"{window} as {quote('valid_to')}",
                "is_current": f"{window} is null as {quote('is_current')}",
            }
            listed = ", ".join(special.get(name, quote(name)) for name in columns)
            try:
                for statement in dialect_of(client).replace_view(client, table.versions, listed, table.history):
                    client.execute_sql(statement)
            except DatabaseTerminalException as error:
                failure = foreseen(error)
                cure = "" if failure else f". The owner of {table.versions} must drop it: the next run recreates it"
                raise type(failure or OrgxError())(
                    f"the view {table.versions} could not be created: {first_words(error)}{cure}"
                ) from None

    def read_log(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows of `sync_log`, oldest first, with its existing columns."""
        present = self.columns(SYNC_LOG) or []
        names = [name for name in columns if name in present]
        if not names:
            return []
        listed = ", ".join(f"{{{name}}}" for name in names)
        rows = self._select(f"select {listed} from {{table}} order by {{started_at}}", table=SYNC_LOG)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def describe(self, table: Table) -> tuple[int | None, int | None, datetime | None]:
        """Return the number of living and deleted rows, and the time of the newest version."""
        if not self.can_be_asked:
            return None, None, None
        deleted = "0" if table.append_only else "count({deleted_at})"
        rows = self._select(f"select count(*), {deleted}, max({{last_changed_at}}) from {{table}}", table=table.name)
        if not rows:
            return 0, 0, None
        count, gone, changed = rows[0]
        return int(count) - int(gone), int(gone), changed

    def check_writable(self) -> None:
        """Create a table in the dataset and roll it back.

        Raises:
            ConfigError, DestinationError: It was refused.
        """
        if self.can_be_asked:
            self._ask(self._try_write)

    def _try_write(self) -> None:
        with self._client() as client:
            if not client.capabilities.supports_ddl_transactions:
                client.has_dataset()
                return
            try:
                with client.begin_transaction():
                    if not client.has_dataset():
                        client.create_dataset()
                    client.execute_sql(f"create table {client.make_qualified_table_name('_orgx_check')} (id integer)")
                    raise _UndoError
            except _UndoError:
                pass
            except Exception as error:
                raise foreseen(error) or DestinationError(describe_trouble(error)) from None

    def fetch_rows(self, table: Table, ids: Iterable[str], types: ColumnTypes) -> Iterator[pa.Table]:
        """Yield the stored rows with these ids as Arrow tables, with the columns in ``types``.

        Args:
            table: The table.
            ids: Keys of the rows.
            types: The types of its columns.
        """
        yield from self._fetch_in_chunks(table.name, table.key, ids, types)

    def _fetch_in_chunks(
        self, name: str, key: str, ids: Iterable[str], types: Mapping[str, ColumnType]
    ) -> Iterator[pa.Table]:
        remaining = iter(ids)
        names: list[str] = []
        while chunk := list(islice(remaining, IDS_AT_ONCE)):
            names = names or [column for column in self.columns(name) or () if column in types]
            if not names:
                # The table does not exist.
                return
            rows = self._ask(self._fetch_chunk, name, key, chunk, {column: types[column] for column in names})
            if rows:
                columns = zip(names, zip(*rows, strict=True), strict=True)
                yield pa.table({column: _stored(types[column], values) for column, values in columns})

    def _fetch_chunk(self, name: str, key: str, ids: list[str], types: dict[str, ColumnType]) -> list[tuple[Any, ...]]:
        with self._client() as client:
            name, key = client.make_qualified_table_name(name), client.escape_column_name(key)
            dialect = dialect_of(client)
            listed = ", ".join(dialect.as_loaded(client.escape_column_name(column), types[column]) for column in types)
            marks = ", ".join(["%s"] * len(ids))
            with client.execute_query(f"select {listed} from {name} where {key} in ({marks})", *ids) as cursor:
                return list(cursor.fetchall())

    def _select(self, sql: str, *values: Any, **tables: str) -> list[tuple[Any, ...]]:
        """Run a query in which ``{alias}`` is one of the tables, and any other ``{name}`` an escaped column."""
        rows: list[tuple[Any, ...]] = []
        if not self.can_be_asked:
            return rows
        self._ask(self._fetch, sql, values, tables, rows.extend)
        return rows

    def _fetch(
        self, sql: str, values: tuple[Any, ...], tables: dict[str, str], take: Callable[[list[tuple[Any, ...]]], None]
    ) -> None:
        with self._client() as client:
            try:
                with client.execute_query(sql.format_map(_Names(client, **tables)), *values) as cursor:
                    while rows := cursor.fetchmany(ROWS_AT_ONCE):
                        take(rows)
            except DestinationUndefinedEntity:
                # A table that does not exist yet is empty.
                return

    def _has_sql(self) -> bool:
        # dlt makes the client without opening anything; to open a DuckDB file takes 75 ms.
        try:
            with _failures_foreseen():
                self._make_client()
        except SqlClientNotAvailable:
            return False
        return True

    def _make_client(self) -> None:
        if self._sql is None:
            self._sql = self._pipeline.sql_client()

    def with_client(self, work: Callable[[Any], T]) -> T:
        """Run a function with dlt's SQL client, in the thread that owns it, and return its result.

        Raises:
            DestinationError: The destination cannot be reached.
        """
        result: T = self._ask(self._work_with_client, work)
        return result

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one snapshot while the warehouse is open: a concurrent run appears in all results or in none."""
        held = ExitStack()
        self.with_client(lambda client: held.enter_context(dialect_of(client).snapshot(client)))
        try:
            yield
        finally:
            # Nothing was written, and a failed query has ended it already.
            with suppress(Exception):
                self.with_client(lambda client: held.close())

    def _work_with_client(self, work: Callable[[Any], T]) -> T:
        with self._client() as client:
            result = work(client)
        return result

    def _ask(self, work: Callable[..., T], *args: Any) -> T:
        return self._thread.submit(work, *args).result()

    @contextmanager
    def kept_open(self, *, saving_memory: bool = False) -> Iterator[None]:
        """Run several queries on one connection: opening a DuckDB file costs more than most queries.

        Args:
            saving_memory: Whether to limit DuckDB's memory meanwhile.
        """
        self._ask(self._hold, saving_memory)
        succeeded = False
        try:
            yield
            succeeded = True
        finally:
            self._ask(self._release, succeeded)

    def _hold(self, saving_memory: bool) -> None:
        if self._holders == 0 and self.can_be_asked:
            client = self._held.enter_context(self._client())
            if saving_memory and isinstance(client, FileClient):
                self._held.enter_context(client.saving_memory(lambda: self._succeeded))
        # Only now, because a failed open is not held.
        self._holders += 1

    def _release(self, succeeded: bool) -> None:
        self._holders -= 1
        self._succeeded = succeeded
        if self._holders == 0:
            self._held.close()

    @contextmanager
    def _client(self) -> Iterator[Any]:
        with _failures_foreseen():
            self._make_client()
            if self._sql.native_connection is not None:
                yield self._sql
                return
            # Open only during queries, so that other processes can use the file in between.
            self._open()
            try:
                yield self._sql
            finally:
                self._sql.close_connection()

    def _open(self) -> None:
        while True:
            try:
                self._sql.open_connection()
                return
            except OrgxError:
                raise
            except Exception as error:
                if not self._patience.wait(error):
                    # An error before the connection is not caused by our query.
                    raise foreseen(error) or DestinationError(describe_trouble(error)) from None


class RefreshedWarehouse(Warehouse):
    """The dataset after a load has dropped or emptied some tables: they read as if they did not exist."""

    def __init__(self, pipeline: Any, patience: LockPatience, gone: Collection[str]) -> None:
        """Open the dataset.

        Args:
            pipeline: The pipeline that fills it.
            patience: How long to wait for a DuckDB file that another process has open.
            gone: Names of the tables.
        """
        self._gone = gone
        super().__init__(pipeline, patience)

    @contextmanager
    def _client(self) -> Iterator[Any]:
        with super()._client() as client:
            path = type(client).make_qualified_table_name

            def path_of_what_stays(name: str, *rest: Any, **more: Any) -> str:
                return str(path(client, f"_orgx_no_{name}" if name in self._gone else name, *rest, **more))

            # Every query gets its table names here.
            client.make_qualified_table_name = path_of_what_stays
            yield client

    def _layout_of(self, name: str) -> dict[str, tuple[str, bool]]:
        # The tables will be recreated.
        return {}


@contextmanager
def _failures_foreseen() -> Iterator[None]:
    try:
        yield
    except (SqlClientNotAvailable, DestinationUndefinedEntity):
        raise
    except Exception as error:
        if failure := foreseen(error):
            raise failure from None
        raise


def _wheres(key: str, only: Sequence[str] | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the conditions that select some ids, or all, each with its values."""
    if only is None:
        yield "", ()
        return
    for start in range(0, len(only), IDS_AT_ONCE):
        ids = tuple(only[start : start + IDS_AT_ONCE])
        yield f" where {{{key}}} in ({', '.join(['%s'] * len(ids))})", ids


def _seconds(moment: Any) -> float | None:
    """Return a time as Unix seconds, whether the database returned a number or a time."""
    if moment is None or isinstance(moment, float):
        return moment
    return _utc(moment).timestamp() if isinstance(moment, datetime) else float(moment)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _stored(column_type: ColumnType, values: Sequence[Any]) -> pa.Array:
    """Return a driver's value of one column as it was loaded: drivers parse JSON and widen numbers."""
    if column_type == "json":
        values = [None if value is None else _json_text(value) for value in values]
    elif column_type == "double":
        values = [None if value is None else float(value) for value in values]
    elif column_type == "bigint":
        values = [None if value is None else int(value) for value in values]
    try:
        return pa.array(values, ARROW_TYPES[column_type])
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # The column's type was changed by hand: its values are not those loaded.
        texts = [None if value is None or column_type != "text" else str(value) for value in values]
        return pa.array(texts, pa.string()).cast(ARROW_TYPES[column_type])


def _json_text(value: Any) -> str:
    """Return JSON as it was loaded; PostgreSQL's ``jsonb`` changes the order of keys and the spaces."""
    return recanonical(value) if isinstance(value, str) else canonical_json(value)
