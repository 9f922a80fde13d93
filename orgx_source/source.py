"""The dlt source: one resource per table, which yields new, changed and deleted rows as Arrow tables.

Only what dlt needs is here: names, keys, dispositions, hints, and checks that they were not changed. The cursors are in
dlt's state, which is stored with the data.
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
from orgx_source.reading.session import PieceReader, ReadSession
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
    WEBHOOK_EVENTS,
    WEBHOOK_EVENTS_COLUMNS,
    Column,
    Table,
)
from orgx_source.warehouse.arrival import note_handed
from orgx_source.warehouse.dataset import RefreshedWarehouse, Warehouse

MERGE: Any = {"disposition": "merge", "strategy": "delete-insert"}
# An existing version is never written again, not even if a load is repeated after a crash.
INSERT_ONLY: Any = {"disposition": "merge", "strategy": "insert-only"}
# Column hints that determine which rows a load replaces, keeps or removes.
DECIDING_HINTS = ("primary_key", "merge_key", "dedup_sort", "hard_delete")
# Steps that may be added to a resource, because they change no row. A limit ends a read like an interrupt.
HARMLESS_STEPS = (LimitItem, MetricsItem)
# A list or an object is a JSON column. Otherwise dlt prepares nested tables repeatedly: 8 % of the CPU time of a run
# without changes.
NO_NESTED_TABLES: Any = {"max_table_nesting": 0, "root_key": False}
OWN_PIPELINE = (
    "orgx_source in your own pipeline loads the tables and their histories. sync_log, verdicts, the views of "
    "versions and the marts come from run_sync only."
)

logger = logging.getLogger(__name__)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Drops dlt's warning for every Arrow table that nested values are text with a JSON hint; this is intended."""
    return "several column hints were different" not in record.getMessage()


def _hints(columns: tuple[Column, ...]) -> dict[str, Any]:
    hints: dict[str, Any] = {
        column.name: {"data_type": column.type, "description": column.description, "nullable": True}
        for column in columns
    }
    hints["_dlt_load_id"] = {"data_type": "text", "nullable": False, "description": "The load that wrote this version."}
    return hints


def _column_hints(table: Table) -> dict[str, Any]:
    hints = _hints(table.stored_columns)
    hints[table.key] |= {"nullable": False, "primary_key": True}
    # Of two versions of one row in one load, the last one read is kept.
    hints["last_changed_at"]["dedup_sort"] = "desc"
    return hints


def _history_hints(table: Table) -> dict[str, Any]:
    hints = _hints((*table.columns, *HISTORY_COLUMNS))
    for name in (table.key, "valid_from"):
        hints[name] |= {"nullable": False, "primary_key": True}
    return hints


def _for_dlt(table: Table, piece: Piece, disposition: Any) -> Any:
    """Return a piece for dlt, with its table and the types of undeclared columns.

    Args:
        table: The table.
        piece: The rows to write.
        disposition: Write disposition of the history.
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


def _open_reader(session: ReadSession, table: Table, warehouse: Warehouse) -> PieceReader:
    """Return the reader of the last stretch, or a new one."""
    if (reader := session.open_tables.pop(table.name, None)) is not None:
        return reader
    tables = dlt.current.source_schema().tables
    known = tables.get(table.name, {}).get("columns", {})
    types = ColumnTypes(table, known)
    own = {*known, *tables.get(table.history, {}).get("columns", {}), *types}
    types.respect(warehouse.foreign_columns(table, own))
    warehouse.check_types(table, types)
    return TableReader(session, table, warehouse, types)


@contextmanager
def _warehouse(session: ReadSession, table: Table) -> Iterator[Warehouse]:
    """Open the dataset as it will be after this load has dropped or emptied tables (`refresh`)."""
    pipeline, found = dlt.current.pipeline(), dlt.current.load_package_state()["state"]
    warehouse = session.warehouse(pipeline)
    gone = {each["name"] for each in (*found.get("dropped_tables", ()), *found.get("truncated_tables", ()))}
    if not gone & {table.name, table.history}:  # guard: refreshed-tables
        yield warehouse
        return
    # Both, even if one of them never had a row.
    refreshed = RefreshedWarehouse(pipeline, session.patience, gone={table.name, table.history})
    try:
        yield refreshed
    finally:
        refreshed.close()


def _read_stretch(session: ReadSession, table: Table, warehouse: Warehouse) -> Iterator[Any]:
    """Yield the pieces of a table for this load."""
    disposition = _history_disposition()
    reader = _open_reader(session, table, warehouse)
    load_id = str(dlt.current.load_package_state()["load_id"])
    wrote = False
    try:
        for piece in reader.pieces(dlt.current.resource_state(), load_id):
            wrote = wrote or not piece.history
            if piece.history and piece.replaces:
                # From now on: dlt has one disposition for all versions in a load.
                disposition = MERGE
            yield _for_dlt(table, piece, disposition)
    finally:
        keys = {table.name: [table.key], table.history: [table.key, "valid_from"]}
        note_handed(dlt.current.destination_state(), reader.handed, keys)
        if session.stretch is None:
            # This load is not verified now; the next run does that.
            note_handed(dlt.current.resource_state(), reader.handed, keys)
    if not reader.finished:
        session.open_tables[table.name] = reader
    if reader.was_closed:
        return
    if not wrote and not reader.living and not warehouse.columns(table.name):
        # A table without rows is created too, with all its columns. Not by
        # materialize_table_schema(): that adds a _dlt_id that must not be null, and no Arrow table has one.
        yield empty_rows(table)


def _check_use(table: Table, *, all_of_them: bool) -> None:
    """Refuse changed resources that would lose rows, or write them again in each run.

    Rows are compared with the stored table of that name, and only differences are passed to dlt.

    Args:
        table: The table of the current resource.
        all_of_them: Whether to check all resources of the source, before the first of them is read.

    Raises:
        ConfigError: A resource was changed; the message says what to do instead.
    """
    selected = dlt.current.source().resources.selected if all_of_them else {}
    named = [(TABLES[name], resource) for name, resource in selected.items() if name in TABLES]
    # By its current name as well: a renamed resource is not one of these.
    for each, resource in [*named, (table, dlt.current.resource())]:
        for reason in _misuses(each, resource):
            raise ConfigError(f"The resource {each.name} cannot be read like this: {reason}.")


def _misuses(table: Table, resource: DltResource) -> Iterator[str]:
    pipeline, schema = dlt.current.pipeline(), dlt.current.source_schema()
    extracted = dlt.current.source().resources.extracted_pipes
    pipe: Any = resource._pipe
    if (resource.name, resource.table_name) != (table.name, table.name):
        name = resource.table_name if isinstance(resource.table_name, str) else "what a function returns"
        yield f"its table was renamed to {name}; use another dataset_name, or create a view with that name"
    if any(other.parent is not None and other.parent.instance_id == pipe.instance_id for other in extracted):
        yield "a transformer takes its rows, which include versions for its history; read them from the warehouse"
    if resource.write_disposition != MERGE:
        yield (
            f"its write disposition was changed to {resource.write_disposition}, and only what changed is written; "
            "keep it, and load everything again with refresh='drop_resources' or full=True"
        )
    if any(not isinstance(step, HARMLESS_STEPS) for step in pipe.steps if step is not pipe.gen):
        yield "a map, filter or other step was added to it, so its rows would differ from OrgX; use a view"
    if changed := _changed_columns(table, resource):
        yield f"hints that determine which rows are kept were changed ({', '.join(changed)}); keep the originals"
    if any(mode == "discard_row" for mode in schema.resolve_contract_settings_for_table(table.name).values()):
        yield "its schema contract discards rows; use evolve, freeze or discard_value"
    if schema.name != (pipeline.default_schema_name or schema.name) and not pipeline.config.use_single_dataset:
        yield "it has its own dataset (use_single_dataset); use a separate pipeline"


def _changed_columns(table: Table, resource: DltResource) -> list[str]:
    """Return the columns whose type or merge hints differ from the declaration."""
    if resource.has_other_dynamic_hints:
        return ["hints that depend on the rows"]
    declared, found = _column_hints(table), resource.compute_table_schema()["columns"]
    changed = {name for name, hints in declared.items() if found.get(name, {}).get("data_type") != hints["data_type"]}
    for name in declared.keys() | found.keys():
        ours, theirs = declared.get(name, {}), found.get(name, {})
        changed |= {name for hint in DECIDING_HINTS if (ours.get(hint) or None) != (theirs.get(hint) or None)}
    return sorted(changed)


def _check_settings() -> None:
    """Refuse to read if dlt would complete a load with failed jobs: its cursors would count.

    Raises:
        ConfigError: dlt's settings say so.
    """
    # Partial, because dlt sets the package storage later.
    if not resolve_configuration(LoaderConfiguration(), sections=("load",), accept_partial=True).raise_on_failed_jobs:
        raise ConfigError(
            "dlt's setting raise_on_failed_jobs is false, so rows that were not loaded would count as loaded and never "
            "be loaded; remove it (LOAD__RAISE_ON_FAILED_JOBS, or [load] in .dlt/config.toml)"
        )


def _make_resource(table: Table, gate: _SessionGate) -> DltResource:
    def read() -> Iterator[Any]:
        session = gate.open()
        if gate.is_own and table.name not in session.config.table_names():
            # Excluded by the settings.
            gate.release()
            return
        report = session.report(table.name)
        began = time.monotonic()
        try:
            with _warehouse(session, table) as warehouse:
                yield from _read_stretch(session, table, warehouse)
        except Exception as error:
            # An unexpected error in one table must not affect the others.
            failure = explain(error)
            report.error, report.exit_code, report.verdict = str(failure), failure.exit_code, None
            if not session.collect_errors:
                raise
        finally:
            report.seconds = round(report.seconds + time.monotonic() - began, 3)
            gate.release()

    # The function, not its generator: dlt looks up the origin of a generator in every module, 7 ms per table.
    resource: DltResource = dlt.resource(
        read, name=table.name, write_disposition=MERGE, columns=_column_hints(table), parallelized=True
    )
    pipe: Any = resource._pipe
    in_parallel = pipe.gen

    def checked() -> Iterator[Any]:
        # Not in a thread: it must run before the others read, and dlt cannot close generators that run in threads.
        gate.check(table)
        yield from in_parallel()

    pipe.replace_gen(checked)
    if table.keeps_history:
        # A variant starts as a copy of the resource's hints: clear it before adding the columns of a version.
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
    """Load the rows of `sync_log`, in a separate source because it is written last."""
    hints = _hints(SYNC_LOG_COLUMNS)
    del hints["_dlt_load_id"]

    def read() -> Iterator[Any]:
        yield rows
        handed = Handed(len(rows), sum(as_number(key_hash(row["run_id"])) for row in rows))
        note_handed(dlt.current.destination_state(), {SYNC_LOG: handed}, {SYNC_LOG: ["run_id", "table_name"]})

    return dlt.resource(read, name=SYNC_LOG, write_disposition="append", columns=hints)


@dlt.source(name="orgx", section="orgx", **NO_NESTED_TABLES)
def memory_source(rows: list[dict[str, Any]]) -> Any:
    """Load the hits of saved searches, in a separate append-only source."""
    hints = _hints(MEMORY_COLUMNS)
    del hints["_dlt_load_id"]

    def read() -> Iterator[Any]:
        yield rows
        handed = Handed(len(rows), sum(as_number(key_hash(row["result_id"])) for row in rows))
        note_handed(dlt.current.destination_state(), {MEMORY_HITS: handed}, {MEMORY_HITS: ["result_id", "search_name"]})

    return dlt.resource(read, name=MEMORY_HITS, write_disposition="append", columns=hints)


@dlt.source(name="orgx", section="orgx", **NO_NESTED_TABLES)
def webhook_events_source(rows: list[dict[str, Any]], tables: Sequence[DltResource] = ()) -> Any:
    """Load events, one row per id, with the resources that read the rows they name, in one load.

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
    """Read OrgX: initiatives, agents, artifacts, decisions and their related tables.

    One resource per table, to select with ``.with_resources("initiatives", ...)``, yields the rows that are new,
    changed or deleted since the last run as Arrow tables. Building the source makes no request.

    Args:
        api_key: The ``oxk_`` key; else ``SOURCES__ORGX__API_KEY``, ``.dlt/secrets.toml`` or ``ORGX_API_KEY``.
        base_url: OrgX's address; else ``SOURCES__ORGX__BASE_URL`` or ``ORGX_BASE_URL``, finally https://useorgx.com.
        workspace_id: Read this workspace only.
        workers: Pages requested in parallel, over all tables (8).
        full: Read every table in full, regardless of the cursor.
        full_every_days: Read a table in full at least this often (7 days).
        max_wait: Seconds the run may wait on rate limits and backoff (900).
        max_requests: Requests the run may send.
        sample: Requests that sample old rows for changes without a new timestamp (3); 0 disables this.
        session: A shared `ReadSession`, which its owner closes.

    Raises:
        ConfigError: When reading begins: a setting is missing or malformed. Building the source needs no settings.
        OrgxError: While the source is read: a table cannot be read.
    """
    full_every = None if full_every_days is None else timedelta(days=full_every_days)
    given: dict[str, Any] = {"api_key": api_key, "base_url": base_url, "workspace_id": workspace_id}
    given |= {"workers": workers, "full": full, "full_every": full_every}
    given |= {"max_wait": max_wait, "max_requests": max_requests, "sample": sample}
    gate = _SessionGate(session, lambda: load_config(**given))
    # The same filter is added only once, however many sources are built.
    logging.getLogger("dlt").addFilter(_is_worth_telling)
    return [_make_resource(table, gate) for table in TABLES.values()]


class _SessionGate:
    """Opens a session for the first table that is read, and closes it after the last one."""

    def __init__(self, given: ReadSession | None, configure: Callable[[], OrgxConfig]) -> None:
        self._given = given
        self._configure = configure
        self._config: OrgxConfig | None = None
        self._own: ReadSession | None = None
        self._readers = 0
        self._checked = ""
        self._lock = threading.Lock()

    def check(self, table: Table) -> None:
        """Refuse harmful settings and changed resources in a user's own pipeline; `run_sync` has none.

        Args:
            table: The table of the current resource.
        """
        if self._given is not None:
            return
        load_id = str(dlt.current.load_package_state()["load_id"])
        if is_first := load_id != self._checked:  # guard: changed-resources
            _check_settings()
            # Now, not when it is built: schedulers build it on machines without a key.
            self._config = self._configure()
            if not self._checked:
                logger.info("%s", OWN_PIPELINE)
        self._checked = load_id
        _check_use(table, all_of_them=is_first)

    @property
    def is_own(self) -> bool:
        """Whether no session was given, so that the settings choose the tables."""
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
