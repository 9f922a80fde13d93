"""The dlt source: one resource per table, which yields what is new, changed or gone as Arrow tables.

Only what dlt needs to know stands here: names, keys, dispositions, hints; and what must not be changed of them. The
cursors are kept in dlt's state, which is stored with the data.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import dlt
from dlt.common.configuration import resolve_configuration
from dlt.common.typing import TSecretStrValue
from dlt.extract import DltResource
from dlt.extract.items_transform import LimitItem, MetricsItem
from dlt.load.configuration import LoaderConfiguration

from orgx_source.api.client import OrgxClient
from orgx_source.config import OrgxConfig, load_config
from orgx_source.errors import ConfigError
from orgx_source.explain import explain
from orgx_source.reading.changes import empty_rows
from orgx_source.reading.intake import Piece
from orgx_source.reading.session import ReadSession
from orgx_source.reading.table_reader import TableReader
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.rows.handed import Handed, as_number, key_hash
from orgx_source.tables import (
    HISTORY_COLUMNS,
    MEMORY_COLUMNS,
    MEMORY_HITS,
    SYNC_LOG,
    SYNC_LOG_COLUMNS,
    TABLES,
    TRACKING_COLUMNS,
    WEBHOOK_EVENTS,
    WEBHOOK_EVENTS_COLUMNS,
    Column,
    Table,
)
from orgx_source.warehouse.arrival import note_handed
from orgx_source.warehouse.dataset import RefreshedWarehouse, Warehouse

MERGE: Any = {"disposition": "merge", "strategy": "delete-insert"}
# A version that is there already is never written again, also when a load is repeated after a crash.
INSERT_ONLY: Any = {"disposition": "merge", "strategy": "insert-only"}
# Hints of a column that decide which rows a load replaces, keeps or removes.
DECIDING_HINTS = ("primary_key", "merge_key", "dedup_sort", "hard_delete")
# What may be added to a resource: it changes no row. A limit ends a read like an interruption.
HARMLESS_STEPS = (LimitItem, MetricsItem)
# A list or an object is a JSON column. Otherwise dlt prepares each table for nested ones, time and again: 8 % of the
# processor time of a quiet run.
NO_NESTED_TABLES: Any = {"max_table_nesting": 0, "root_key": False}
OWN_PIPELINE = (
    "orgx_source in a pipeline of your own loads the tables and their histories. sync_log, verdicts, the views of "
    "versions and the marts come from run_sync only."
)

logger = logging.getLogger(__name__)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Nested values travel as text with a JSON hint, on purpose; dlt warns of the difference for every Arrow table."""
    return "several column hints were different" not in record.getMessage()


def _hints(columns: tuple[Column, ...]) -> dict[str, Any]:
    hints: dict[str, Any] = {
        column.name: {"data_type": column.type, "description": column.description, "nullable": True}
        for column in columns
    }
    hints["_dlt_load_id"] = {"data_type": "text", "nullable": False, "description": "The load that wrote this version."}
    return hints


def _column_hints(table: Table) -> dict[str, Any]:
    hints = _hints((*table.columns, *(TRACKING_COLUMNS[:1] if table.append_only else TRACKING_COLUMNS)))
    hints[table.key] |= {"nullable": False, "primary_key": True}
    # Of two versions of one row in one load, the one that was read last stays.
    hints["last_changed_at"]["dedup_sort"] = "desc"
    return hints


def _history_hints(table: Table) -> dict[str, Any]:
    hints = _hints((*table.columns, *HISTORY_COLUMNS))
    for name in (table.key, "valid_from"):
        hints[name] |= {"nullable": False, "primary_key": True}
    return hints


def _for_dlt(table: Table, piece: Piece, disposition: Any) -> Any:
    """Return a piece as dlt takes it: with the table it goes to, and the types of columns that are not declared.

    Args:
        table: The table.
        piece: What is to be written.
        disposition: How versions get into the history.
    """
    hints: dict[str, Any] = {
        name: {"name": name, "data_type": kind, "nullable": True} for name, kind in piece.undeclared.items()
    }
    if not piece.history:
        return dlt.mark.with_hints(piece.rows, dlt.mark.make_hints(columns=hints)) if hints else piece.rows
    variant = dlt.mark.make_hints(table_name=table.history, columns=hints or None, write_disposition=disposition)
    return dlt.mark.with_hints(piece.rows, variant, create_table_variant=True)


def _history_disposition() -> Any:
    supported = dlt.current.pipeline().destination.capabilities().supported_merge_strategies or ()
    return INSERT_ONLY if "insert-only" in supported else MERGE


def _open_reader(session: ReadSession, table: Table, warehouse: Warehouse) -> TableReader:
    """Return the reader whose stretch ended last, or a new one."""
    reader: TableReader | None = session.open_tables.pop(table.name, None)
    if reader is not None:
        return reader
    tables = dlt.current.source_schema().tables
    known = tables.get(table.name, {}).get("columns", {})
    types = ColumnTypes(table, known)
    own = {*known, *tables.get(table.history, {}).get("columns", {}), *types}
    types.respect(warehouse.foreign_columns(table, own))
    return TableReader(session, table, warehouse, types)


@contextmanager
def _warehouse(session: ReadSession, table: Table) -> Iterator[Warehouse]:
    """Open the dataset as it will be when this load has dropped or emptied what it was told to (`refresh`)."""
    pipeline, found = dlt.current.pipeline(), dlt.current.load_package_state()["state"]
    warehouse = session.warehouse(pipeline)
    gone = {each["name"] for each in (*found.get("dropped_tables", ()), *found.get("truncated_tables", ()))}
    if not gone & {table.name, table.history}:  # guard: refreshed-tables
        yield warehouse
        return
    # Both, also where one of them never got a row.
    refreshed = RefreshedWarehouse(pipeline, session.patience, gone={table.name, table.history})
    try:
        yield refreshed
    finally:
        refreshed.close()


def _read_stretch(session: ReadSession, table: Table, warehouse: Warehouse) -> Iterator[Any]:
    """Yield what is to be written for a table in this load."""
    disposition = _history_disposition()
    reader = _open_reader(session, table, warehouse)
    load_id = str(dlt.current.load_package_state()["load_id"])
    wrote = False
    try:
        for piece in reader.pieces(dlt.current.resource_state(), load_id):
            wrote = wrote or not piece.history
            if piece.history and piece.replaces:
                # From here on: dlt knows one way for all versions of a load.
                disposition = MERGE
            yield _for_dlt(table, piece, disposition)
    finally:
        keys = {table.name: [table.key], table.history: [table.key, "valid_from"]}
        note_handed(dlt.current.destination_state(), reader.handed, keys)
        if session.stretch is None:
            # Nobody looks after this load; the next run does.
            note_handed(dlt.current.resource_state(), reader.handed, keys)
    if not reader.finished:
        session.open_tables[table.name] = reader
    if reader.was_closed:
        return
    if not wrote and not warehouse.columns(table.name):
        # An organisation without a single row still gets the table, with all its columns. Not by
        # materialize_table_schema(): that adds a _dlt_id that must not be null, and no Arrow table has one.
        yield empty_rows(table)


def _check_use(table: Table, *, all_of_them: bool) -> None:
    """Refuse resources that were changed so that rows would be lost, or written again and again.

    Rows are compared with what the table of that name holds, and only what differs is handed to dlt.

    Args:
        table: The table of the resource whose turn it is.
        all_of_them: Whether to look at all resources of the source: before the first of them is read.

    Raises:
        ConfigError: One was changed so; the message says what to do instead.
    """
    selected = dlt.current.source().resources.selected if all_of_them else {}
    named = [(TABLES[name], resource) for name, resource in selected.items() if name in TABLES]
    # Also by what it is now: one that has another name is none of these.
    for each, resource in [*named, (table, dlt.current.resource())]:
        for reason in _misuses(each, resource):
            raise ConfigError(f"The resource {each.name} cannot be read like this: {reason}.")


def _misuses(table: Table, resource: DltResource) -> Iterator[str]:
    pipeline, schema = dlt.current.pipeline(), dlt.current.source_schema()
    extracted = dlt.current.source().resources.extracted_pipes
    pipe: Any = resource._pipe
    if (resource.name, resource.table_name) != (table.name, table.name):
        name = resource.table_name if isinstance(resource.table_name, str) else "what a function returns"
        yield f"its table was renamed to {name}; give another dataset_name, or make a view of that name"
    if any(other.parent is not None and other.parent.instance_id == pipe.instance_id for other in extracted):
        yield "a transformer takes its rows, among them versions that go to its history; ask the warehouse for them"
    if resource.write_disposition != MERGE:
        yield (
            f"its write disposition was changed to {resource.write_disposition}, and only what changed is written; "
            "leave it, and load everything anew with refresh='drop_resources', or read it with full=True"
        )
    if any(not isinstance(step, HARMLESS_STEPS) for step in pipe.steps if step is not pipe.gen):
        yield "a map, filter or other step was added to it, and what it changes would differ from OrgX; use a view"
    if changed := _changed_columns(table, resource):
        yield f"hints that decide which rows stay were changed ({', '.join(changed)}); leave them as they are"
    if any(mode == "discard_row" for mode in schema.resolve_contract_settings_for_table(table.name).values()):
        yield "its schema contract discards rows; use evolve, freeze or discard_value"
    if schema.name != (pipeline.default_schema_name or schema.name) and not pipeline.config.use_single_dataset:
        yield "it goes to a dataset of its own (use_single_dataset); give it a pipeline of its own"


def _changed_columns(table: Table, resource: DltResource) -> list[str]:
    """Return the columns whose type, or whose part in a merge, is no longer as declared."""
    if resource.has_other_dynamic_hints:
        return ["hints that depend on the rows"]
    declared, found = _column_hints(table), resource.compute_table_schema()["columns"]
    changed = {name for name, hints in declared.items() if found.get(name, {}).get("data_type") != hints["data_type"]}
    for name in declared.keys() | found.keys():
        ours, theirs = declared.get(name, {}), found.get(name, {})
        changed |= {name for hint in DECIDING_HINTS if (ours.get(hint) or None) != (theirs.get(hint) or None)}
    return sorted(changed)


def _check_settings() -> None:
    """Refuse to read where dlt would call a load complete of which a part failed: its cursors would count.

    Raises:
        ConfigError: That is what dlt's settings say.
    """
    # Partial, because where it keeps its packages dlt says later.
    if not resolve_configuration(LoaderConfiguration(), sections=("load",), accept_partial=True).raise_on_failed_jobs:
        raise ConfigError(
            "dlt's setting raise_on_failed_jobs is false, so rows that were not loaded would count as loaded and never "
            "come; remove it (LOAD__RAISE_ON_FAILED_JOBS, or [load] in .dlt/config.toml)"
        )


def _make_resource(table: Table, gate: _SessionGate) -> DltResource:
    def read() -> Iterator[Any]:
        session = gate.open()
        if gate.is_own and table.name not in session.config.table_names():
            # Left out by the settings.
            gate.release()
            return
        report = session.report(table.name)
        began = time.monotonic()
        try:
            with _warehouse(session, table) as warehouse:
                yield from _read_stretch(session, table, warehouse)
        except Exception as error:
            # One table's surprise must not take the others with it.
            failure = explain(error)
            report.error, report.exit_code, report.verdict = str(failure), failure.exit_code, None
            if not session.collect_errors:
                raise
        finally:
            report.seconds = round(report.seconds + time.monotonic() - began, 3)
            gate.release()

    # The function, not its generator: where that comes from dlt looks up in every module, 7 ms a table.
    resource: DltResource = dlt.resource(
        read, name=table.name, write_disposition=MERGE, columns=_column_hints(table), parallelized=True
    )
    pipe: Any = resource._pipe
    in_parallel = pipe.gen

    def checked() -> Iterator[Any]:
        # Not in a thread of its own: before any of the others reads, and dlt could not close those that do.
        gate.check(table)
        yield from in_parallel()

    pipe.replace_gen(checked)
    if table.keeps_history:
        # A variant begins as a copy of the resource's own hints: empty it before it gets the columns of a version.
        resource.apply_hints(table_name=table.history, columns={}, create_table_variant=True)
        resource.apply_hints(
            table_name=table.history,
            columns=_history_hints(table),
            write_disposition=INSERT_ONLY,
            create_table_variant=True,
        )
    return resource


@dlt.source(name="orgx", section="orgx", **NO_NESTED_TABLES)
def sync_log_source(rows: list[dict[str, Any]]) -> Any:
    """Give the rows of `sync_log` to dlt: a source of its own, because it is written when all else is done."""
    hints = _hints(SYNC_LOG_COLUMNS)
    del hints["_dlt_load_id"]

    def read() -> Iterator[Any]:
        yield rows
        handed = Handed(len(rows), sum(as_number(key_hash(row["run_id"])) for row in rows))
        note_handed(dlt.current.destination_state(), {SYNC_LOG: handed}, {SYNC_LOG: ["run_id", "table_name"]})

    return dlt.resource(read, name=SYNC_LOG, write_disposition="append", columns=hints)


@dlt.source(name="orgx", section="orgx", **NO_NESTED_TABLES)
def memory_source(rows: list[dict[str, Any]]) -> Any:
    """Give the hits of saved searches to dlt: a source of its own, whose rows are only added."""
    hints = _hints(MEMORY_COLUMNS)
    del hints["_dlt_load_id"]

    def read() -> Iterator[Any]:
        yield rows
        handed = Handed(len(rows), sum(as_number(key_hash(row["result_id"])) for row in rows))
        note_handed(dlt.current.destination_state(), {MEMORY_HITS: handed}, {MEMORY_HITS: ["result_id", "search_name"]})

    return dlt.resource(read, name=MEMORY_HITS, write_disposition="append", columns=hints)


@dlt.source(name="orgx", section="orgx", **NO_NESTED_TABLES)
def webhook_events_source(rows: list[dict[str, Any]], tables: Sequence[DltResource] = ()) -> Any:
    """Give events to dlt, one row per id, with the resources that read the rows they name: one load for both.

    Args:
        rows: Rows of `webhook_events`.
        tables: Resources of `orgx_source`.
    """
    hints = _hints(WEBHOOK_EVENTS_COLUMNS)
    del hints["_dlt_load_id"]
    hints["id"] |= {"nullable": False, "primary_key": True}

    def read() -> Iterator[Any]:
        yield rows
        handed = Handed(len(rows), sum(as_number(key_hash(row["id"])) for row in rows))
        note_handed(dlt.current.destination_state(), {WEBHOOK_EVENTS: handed}, {WEBHOOK_EVENTS: ["id"]})

    return [dlt.resource(read, name=WEBHOOK_EVENTS, write_disposition=MERGE, columns=hints), *tables]


@dlt.source(name="orgx", section="orgx", **NO_NESTED_TABLES)
def orgx_source(
    api_key: TSecretStrValue | None = None,
    base_url: str | None = None,
    workspace_id: str | None = None,
    workers: int | None = None,
    full: bool = False,
    full_every_days: float | None = None,
    max_wait: float | None = None,
    max_requests: int | None = None,
    sample: int | None = None,
    session: Any = None,
) -> Any:
    """Read OrgX: initiatives, agents, artifacts, decisions and what belongs to them.

    One resource per table, to select with ``.with_resources("initiatives", ...)``, yields the rows that are new,
    changed or gone since the last run as Arrow tables. Building the source makes no request.

    Args:
        api_key: The ``oxk_`` key; else ``SOURCES__ORGX__API_KEY``, ``.dlt/secrets.toml`` or ``ORGX_API_KEY``.
        base_url: OrgX's address; else ``SOURCES__ORGX__BASE_URL`` or ``ORGX_BASE_URL``, https://useorgx.com at last.
        workspace_id: Read this workspace only.
        workers: Pages asked for at the same time, over all tables (8).
        full: Read every table whole, whatever the cursor says.
        full_every_days: Read a table whole at least this often (7 days).
        max_wait: Seconds the run may wait on rate limits and backoff (900).
        max_requests: Requests the run may send.
        sample: Requests that look at old rows, to find what changed without a trace (3); 0 for none.
        session: A `ReadSession` to share, whose owner closes it and reads its reports.

    Raises:
        ConfigError: When reading begins: a setting is missing or malformed. Building it needs none, not even a key.
        OrgxError: While the source is read, when a table cannot be.
    """
    full_every = None if full_every_days is None else timedelta(days=full_every_days)
    given: dict[str, Any] = {"api_key": api_key, "base_url": base_url, "workspace_id": workspace_id}
    given |= {"workers": workers, "full": full, "full_every": full_every}
    given |= {"max_wait": max_wait, "max_requests": max_requests, "sample": sample}
    gate = _SessionGate(session, lambda: load_config(**given))
    # The same filter is added once, however many sources are built.
    logging.getLogger("dlt").addFilter(_is_worth_telling)
    return [_make_resource(table, gate) for table in TABLES.values()]


class _SessionGate:
    """Opens a session for the first table that is read, and closes it after the last one that is being read."""

    def __init__(self, given: ReadSession | None, configure: Callable[[], OrgxConfig]) -> None:
        self._given = given
        self._configure = configure
        self._config: OrgxConfig | None = None
        self._own: ReadSession | None = None
        self._readers = 0
        self._checked = ""
        self._lock = threading.Lock()

    def check(self, table: Table) -> None:
        """Refuse settings and changed resources that can harm a pipeline of the user's own; in our run there are none.

        Args:
            table: The table of the resource whose turn it is.
        """
        if self._given is not None:
            return
        load_id = str(dlt.current.load_package_state()["load_id"])
        if is_first := load_id != self._checked:  # guard: changed-resources
            _check_settings()
            # Now, and not when it is built: schedulers build it on machines that have no key.
            self._config = self._configure()
            if not self._checked:
                logger.info("%s", OWN_PIPELINE)
        self._checked = load_id
        _check_use(table, all_of_them=is_first)

    @property
    def is_own(self) -> bool:
        """Whether no session was given: then nobody has chosen the tables but the settings."""
        return self._given is None

    def open(self) -> ReadSession:
        if self._given is not None:
            return self._given
        with self._lock:
            self._readers += 1
            if self._own is None:
                config = self._config or self._configure()
                self._own = ReadSession(config, OrgxClient(config))
            return self._own

    def release(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0 and self._own is not None:
                self._own.close()
                self._own = None
