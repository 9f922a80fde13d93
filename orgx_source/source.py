"""The dlt source: one resource per table, which yields what is new, changed or gone as Arrow tables.

Chooses routes, decides between what changed and everything, and keeps the cursors in dlt's state, which is stored
with the data. How a list is read is the reader's work, how rows become columns is the shape's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.typing import TSecretStrValue
from dlt.extract import DltResource

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Row
from orgx_source.api.reader import RouteReader, row_keys
from orgx_source.api.routes import ROUTES, Route
from orgx_source.config import OrgxConfig, load_config
from orgx_source.errors import ApiError, ConfigError, OrgxError, RouteClosedError
from orgx_source.report import TableReport
from orgx_source.shape import Shaper, row_hashes
from orgx_source.tables import RESERVED, TABLES, TRACKING_COLUMNS, Column, ColumnType, Table
from orgx_source.times import parse_timestamp, utc_now
from orgx_source.warehouse import KnownRow, Warehouse

logger = logging.getLogger(__name__)
# Nested values travel as text with a JSON hint, on purpose; dlt would warn of the difference for every Arrow table.
logging.getLogger("dlt").addFilter(lambda record: "several column hints were different" not in record.getMessage())

BATCH_ROWS = 20_000
STATE_VERSION = 1
# Refuse to believe that this much of a table vanished at once, unless a second read agrees.
# A route that answers one of these will not serve this key; 400 and 422 come from a route that does not know the type.
CLOSED_STATUSES = frozenset({400, 401, 403, 404, 410, 422})
IMPLAUSIBLE_SHARE = 0.3
IMPLAUSIBLE_ROWS = 20

MERGE: Any = {"disposition": "merge", "strategy": "delete-insert"}


@dataclass
class ReadSession:
    """What all tables of one run share: the connection, the threads, the workspace, and the reports.

    Attributes:
        config: The settings.
        reports: Table name to what was done for it.
        collect_errors: Whether a failing table is reported, so that the others go on; else its error is raised.
        on_progress: Called with (table, pages, rows) after each list of rows.
        clock: This machine's time in UTC.
    """

    config: OrgxConfig
    client: OrgxClient
    reports: dict[str, TableReport] = field(default_factory=dict)
    collect_errors: bool = False
    on_progress: Callable[[str, int, int], None] | None = None
    clock: Callable[[], datetime] = utc_now

    def __post_init__(self) -> None:
        self.executor = ThreadPoolExecutor(self.config.workers, thread_name_prefix="orgx")
        self._lock = threading.Lock()
        self._workspace: Row | None = None
        self._workspace_error: OrgxError | None = None
        self._warehouse: Warehouse | None = None

    def warehouse(self, pipeline: Any) -> Warehouse:
        """Return the dataset that the running pipeline fills.

        Raises:
            ConfigError: Its tables cannot be named.
            DestinationError: It cannot be opened.
        """
        with self._lock:
            if self._warehouse is None:
                self._warehouse = Warehouse(pipeline)
                self._warehouse.check_names()
            return self._warehouse

    def workspace(self) -> Row:
        """Return the workspace that the key resolves to; asked for once.

        Raises:
            OrgxError: From the client; the same one for every table.
        """
        with self._lock:
            if self._workspace_error is not None:
                raise self._workspace_error
            if self._workspace is None:
                try:
                    self._workspace = self.client.bootstrap()
                except OrgxError as error:
                    self._workspace_error = error
                    raise
            return self._workspace

    def report(self, table: str) -> TableReport:
        """Return the report of a table, a new one the first time."""
        with self._lock:
            return self.reports.setdefault(table, TableReport())

    def close(self) -> None:
        """Stop the threads and close the connections."""
        self.executor.shutdown(wait=True, cancel_futures=True)
        if self._warehouse is not None:
            self._warehouse.close()
        self.client.close()


class TableReader:
    """Reads one table in one run: route, mode, change detection, cursor."""

    def __init__(self, session: ReadSession, table: Table, state: dict[str, Any], warehouse: Warehouse) -> None:
        self._session = session
        self._config = session.config
        self._table = table
        self._state = state
        self._warehouse = warehouse
        self._report = session.report(table.name)
        self._keys = row_keys(table)
        self._volatile = [c.name for c in table.columns if c.volatile] + [c.name for c in TRACKING_COLUMNS]
        self._shaper = Shaper(table, _learnt_types(table))
        self._known: dict[str, KnownRow] = {}
        self._seen: set[str] = set()
        self._narrow = False
        self._newest: datetime | None = None
        self._started = session.clock()
        self._workspace_id = ""
        self._load_id = str(dlt.current.load_package_state()["load_id"])

    def read(self) -> Iterator[Any]:
        """Yield Arrow tables of the rows to write.

        Raises:
            OrgxError: No route could serve the table, or the read failed on the way.
        """
        workspace = self._session.workspace()
        self._workspace_id = self._config.workspace_id or str(workspace["id"])
        self._known = self._warehouse.known_rows(self._table)
        refusal: ApiError | None = None
        for route in self._routes():
            self._report.route = route.name
            try:
                yield from self._read_route(route)
                return
            except ApiError as error:
                if error.status not in CLOSED_STATUSES:
                    raise
                logger.warning("%s: %s; trying the next route", self._table.name, error)
                self._report.closed_routes.append(f"{route.name} ({error.status})")
                refusal = error
        closed = ", ".join(self._report.closed_routes)
        self._report.route = None
        raise RouteClosedError(
            f"{self._table.name}: no route is open to this key, although the key itself works ({closed}). {refusal}",
            status=refusal.status if refusal else 0,
            path=refusal.path if refusal else "",
        )

    def _routes(self) -> Sequence[Route]:
        routes = ROUTES[self._table.name]
        pinned = self._config.routes.get(self._table.name)
        if pinned is None:
            return routes
        chosen = [route for route in routes if pinned in (route.name, route.path)]
        if not chosen:
            names = ", ".join(route.name for route in routes)
            raise ConfigError(f"{self._table.name} has no route {pinned}; it can be read from {names}")
        return chosen

    def _read_route(self, route: Route) -> Iterator[Any]:
        # The first route of a table tells all there is; the others only a part of each row.
        self._narrow = route is not ROUTES[self._table.name][0] and self._warehouse.can_be_asked
        watermark = self._watermark(route)
        reader = self._reader(route)
        yield from self._changes(reader, reader.rows(watermark))
        whole = watermark is None or not reader.report.stopped_early
        if not whole and not self._adds_up(reader):
            # The counts differ: something was deleted, or slipped behind the cursor. Read everything.
            logger.info("%s: OrgX counts otherwise than the warehouse, reading the whole table", self._table.name)
            self._seen.clear()
            reader = self._reader(route)
            yield from self._changes(reader, reader.rows(None))
            whole = True
        if whole:
            yield from self._deletions(reader)
        self._finish(route, reader, whole=whole)

    def _reader(self, route: Route) -> RouteReader:
        return RouteReader(
            self._session.client,
            self._table,
            route,
            self._session.executor,
            workspace=self._session.workspace(),
            parents=lambda: _read_parents(self._session),
        )

    def _watermark(self, route: Route) -> datetime | None:
        """Return the time after which rows must be read, or None to read the whole table."""
        cursor = parse_timestamp(self._state.get("cursor"))
        whole_at = parse_timestamp(self._state.get("whole_read_at"))
        usable = (
            self._warehouse.can_be_asked
            and not self._config.full
            and cursor is not None
            and whole_at is not None
            and self._state.get("version") == STATE_VERSION
            and self._state.get("route") == route.name
            and self._state.get("workspace_id") == self._workspace_id
            and self._known
            # A cursor counts only where the rows behind it arrived: the load may have failed, or the warehouse may
            # be another one, or an older copy.
            and self._warehouse.has_load(str(self._state.get("load_id")))
        )
        if not usable or cursor is None or whole_at is None:
            return None
        if not self._table.append_only and self._started - whole_at >= self._config.full_every:
            return None
        if not (route.sorts or route.paging in ("feed", "cursor")):
            return None
        return cursor - self._config.overlap

    # -- changes -------------------------------------------------------------------------------------------------

    def _changes(self, reader: RouteReader, batches: Iterator[list[Row]]) -> Iterator[Any]:
        """Yield what is new or changed, in tables of some thousand rows."""
        pending: list[pa.Table] = []
        failure: OrgxError | None = None
        before = self._report.requests
        try:
            for rows in batches:
                changed = self._changed(self._in_workspace(rows), self._session.clock())
                pending += [] if changed is None else [changed]
                self._report.requests = before + reader.report.pages
                if self._session.on_progress is not None:
                    self._session.on_progress(self._table.name, self._report.requests, len(self._seen))
                if sum(table.num_rows for table in pending) >= BATCH_ROWS:
                    yield self._with_hints(pending)
                    pending = []
        except OrgxError as error:
            failure = error
        self._report.requests = before + reader.report.pages
        self._report.rows_without_id = reader.report.nameless
        self._report.rows_read = len(self._seen)
        if pending:
            yield self._with_hints(pending)
        if failure is not None:
            # What came before the failure is true and is kept; the cursor stays where it was.
            raise failure

    def _in_workspace(self, rows: list[Row]) -> list[Row]:
        """Keep rows of the workspace asked for, and rows that name none: OrgX's own filter is not always trusted."""
        wanted = self._config.workspace_id
        if wanted is None:
            return rows
        keys = ("workspace_id", "workspaceId", "command_center_id", "commandCenterId")
        kept = []
        for row in rows:
            named = {row[key] for key in keys if row.get(key)}
            if not named or wanted in named:
                kept.append(row)
        return kept

    def _changed(self, rows: list[Row], stamp: datetime) -> pa.Table | None:
        """Shape rows and return those whose hash differs from what the warehouse holds."""
        if not rows:
            return None
        table = self._shaper.shape(rows)
        ids = table.column(self._table.key).to_pylist()
        if self._narrow:
            table = self._filled(table, ids)
        hashes = row_hashes(table, self._volatile)
        self._note_times(rows)
        changed: list[int] = []
        for index, (row_id, row_hash) in enumerate(zip(ids, hashes, strict=True)):
            self._seen.add(row_id)
            known = self._known.get(row_id)
            if known is None:
                self._report.rows_new += 1
            elif self._table.append_only or (known.row_hash == row_hash and not known.deleted):
                continue
            else:
                self._report.rows_changed += 1
            self._known[row_id] = KnownRow(row_hash)
            changed.append(index)
        if not changed:
            return None
        table = table.append_column("_row_hash", pa.array(hashes, pa.string()))
        if len(changed) < table.num_rows:
            table = table.take(pa.array(changed))
        return self._stamped(table, last_changed_at=stamp)

    def _filled(self, table: pa.Table, ids: list[str]) -> pa.Table:
        """Add the stored values of columns that this route does not tell: a detour must not wipe them."""
        known = [row_id for row_id in ids if row_id in self._known]
        pieces = list(self._warehouse.fetch_rows(self._table, known, self._types()))
        if not pieces:
            return table
        stored = pa.concat_tables(pieces, promote_options="default")
        position = {row_id: index for index, row_id in enumerate(stored.column(self._table.key).to_pylist())}
        rows = pa.array([position.get(row_id) for row_id in ids], pa.int64())
        tracking = {column.name for column in TRACKING_COLUMNS}
        for name in stored.column_names:
            if name not in tracking and name not in table.column_names:
                table = table.append_column(name, stored.column(name).take(rows))
        return table

    def _types(self) -> dict[str, ColumnType]:
        return {c.name: c.type for c in (*self._table.columns, *TRACKING_COLUMNS)} | self._shaper.types

    def _note_times(self, rows: list[Row]) -> None:
        for row in rows:
            moment = self._keys.updated(row) or self._keys.created(row)
            if moment is not None and (self._newest is None or moment > self._newest):
                self._newest = moment

    def _with_hints(self, tables: list[pa.Table]) -> Any:
        """Join tables into one, and tell dlt of columns that are not declared."""
        table = pa.concat_tables(tables, promote_options="default")
        declared = {column.name for column in (*self._table.columns, *TRACKING_COLUMNS)}
        hints: dict[str, Any] = {
            name: {"name": name, "data_type": self._shaper.types[name], "nullable": True}
            for name in table.column_names
            if name not in declared and name in self._shaper.types
        }
        return dlt.mark.with_hints(table, dlt.mark.make_hints(columns=hints)) if hints else table

    def _stamped(self, table: pa.Table, **moments: datetime | None) -> pa.Table:
        """Add times, and the load's id: dlt adds that one to Arrow tables only where a setting says so."""
        for name, moment in moments.items():
            table = table.append_column(name, pa.array([moment] * table.num_rows, pa.timestamp("us", "UTC")))
        return table.append_column("_dlt_load_id", pa.array([self._load_id] * table.num_rows, pa.string()))

    # -- deletions -----------------------------------------------------------------------------------------------

    def _adds_up(self, reader: RouteReader) -> bool:
        """Whether OrgX's count equals what the warehouse will hold after this read."""
        if self._table.append_only or reader.report.totals is None or self._config.workspace_id is not None:
            return True
        if reader.report.verdict == "uncertified":
            return False
        return reader.report.totals[2] == sum(not known.deleted for known in self._known.values())

    def _deletions(self, reader: RouteReader) -> Iterator[pa.Table]:
        """Yield the rows that OrgX no longer lists, marked; only when the read is proof of that."""
        if self._table.append_only or self._config.workspace_id is not None:
            return
        if reader.report.verdict not in ("certified", "repaired") or not reader.route.takes_ids:
            return
        living = [row_id for row_id, known in self._known.items() if not known.deleted]
        gone = [row_id for row_id in living if row_id not in self._seen]
        if not gone:
            return
        if len(gone) >= IMPLAUSIBLE_ROWS and len(gone) > IMPLAUSIBLE_SHARE * len(living):
            reader.report.miss(f"{len(gone)} of {len(living)} rows vanished at once; none was marked as deleted")
            return
        still_there = reader.fetch_ids(gone)
        self._report.requests += -(-len(gone) // 100)
        gone = [row_id for row_id in gone if row_id not in still_there]
        stamp = self._session.clock()
        last_seen = parse_timestamp(self._state.get("read_at"))
        for table in self._warehouse.fetch_rows(self._table, gone, self._types()):
            self._report.rows_deleted += table.num_rows
            kept = table.drop_columns(
                [c for c in ("deleted_at", "last_seen_at", "last_changed_at") if c in table.column_names]
            )
            yield self._stamped(kept, last_changed_at=stamp, deleted_at=self._started, last_seen_at=last_seen)
        for row_id in gone:
            self._known[row_id] = KnownRow(self._known[row_id].row_hash, deleted=True)

    # -- the end -------------------------------------------------------------------------------------------------

    def _finish(self, route: Route, reader: RouteReader, *, whole: bool) -> None:
        report, listing = self._report, reader.report
        report.verdict = listing.verdict
        report.reasons = list(listing.reasons)
        report.whole = whole
        report.total_reported = listing.totals[2] if listing.totals and not listing.total_doubtful else None
        if listing.short_by or listing.nameless:
            report.exit_code = 4
        cursor = parse_timestamp(self._state.get("cursor"))
        newest = max((moment for moment in (cursor, self._newest) if moment is not None), default=None)
        if newest is not None:
            self._state["cursor"] = min(newest, self._started).isoformat()
        self._state["read_at"] = self._started.isoformat()
        if whole and listing.verdict != "uncertified":
            self._state["whole_read_at"] = self._started.isoformat()
        elif whole:
            self._state.setdefault("whole_read_at", self._started.isoformat())
        self._state.update(
            version=STATE_VERSION, route=route.name, workspace_id=self._workspace_id, load_id=self._load_id
        )


def _learnt_types(table: Table) -> dict[str, Any]:
    """Return the types that undeclared columns already have in the warehouse's schema."""
    columns = dlt.current.source_schema().tables.get(table.name, {}).get("columns", {})
    known = {"text", "bigint", "double", "bool", "timestamp", "date", "json"}
    return {
        name: hints["data_type"]
        for name, hints in columns.items()
        if hints.get("data_type") in known and table.column(name) is None and name not in RESERVED
    }


def _read_parents(session: ReadSession) -> Iterator[tuple[str, str]]:
    """Yield (entity type, id) of everything an artifact can be attached to, from whatever route is open."""
    for name in ("initiatives", "workstreams", "milestones", "tasks", "decisions"):
        for route in ROUTES[name]:
            reader = RouteReader(session.client, TABLES[name], route, session.executor, workspace=session.workspace())
            keys = row_keys(TABLES[name])
            try:
                for rows in reader.rows():
                    for row in rows:
                        if row_id := keys.id(row):
                            yield name[:-1], row_id
                break
            except RouteClosedError:
                continue


def _column_hints(table: Table) -> dict[str, Any]:
    columns: tuple[Column, ...] = table.columns
    columns += TRACKING_COLUMNS[:1] if table.append_only else TRACKING_COLUMNS
    hints: dict[str, Any] = {
        column.name: {"data_type": column.type, "description": column.description, "nullable": True}
        for column in columns
    }
    hints[table.key] |= {"nullable": False, "primary_key": True}
    hints["_dlt_load_id"] = {"data_type": "text", "nullable": False, "description": "The load that wrote this version."}
    # Of two versions of one row in one load, the one that was read last stays.
    hints["last_changed_at"]["dedup_sort"] = "desc"
    return hints


def _make_resource(table: Table, open_session: Callable[[], ReadSession], release: Callable[[], None]) -> DltResource:
    def read() -> Iterator[Any]:
        session = open_session()
        report = session.report(table.name)
        began = time.monotonic()
        wrote = False
        try:
            warehouse = session.warehouse(dlt.current.pipeline())
            for item in TableReader(session, table, dlt.current.resource_state(), warehouse).read():
                wrote = True
                yield item
            if not wrote:
                # An organisation without a single row still gets the table, with all its columns.
                yield dlt.mark.materialize_table_schema()
        except OrgxError as error:
            report.error = str(error)
            report.exit_code = error.exit_code
            report.verdict = None
            if not session.collect_errors:
                raise
        except Exception as error:
            # One table's surprise must not take the others with it.
            report.error = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            report.exit_code = 1
            report.verdict = None
            logger.debug("%s failed", table.name, exc_info=True)
            if not session.collect_errors:
                raise
        finally:
            report.seconds = round(time.monotonic() - began, 3)
            release()

    resource: DltResource = dlt.resource(
        read(),
        name=table.name,
        write_disposition=MERGE,
        columns=_column_hints(table),
        parallelized=True,
    )
    return resource


@dlt.source(name="orgx", section="orgx", max_table_nesting=0)
def orgx_source(
    api_key: TSecretStrValue | None = None,
    base_url: str | None = None,
    workspace_id: str | None = None,
    workers: int | None = None,
    full: bool = False,
    full_every_days: float | None = None,
    max_wait: float | None = None,
    max_requests: int | None = None,
    session: Any = None,
) -> Any:
    """Read OrgX: initiatives, agents, artifacts, decisions and what belongs to them.

    Yields Arrow tables of the rows that are new, changed or gone since the last run; reading the same row twice
    writes nothing. Building the source makes no request.

    Args:
        api_key: The ``oxk_`` key; else ``SOURCES__ORGX__API_KEY``, ``.dlt/secrets.toml`` or ``ORGX_API_KEY``.
        base_url: OrgX's address; else ``SOURCES__ORGX__BASE_URL`` or ``ORGX_BASE_URL``, https://useorgx.com at last.
        workspace_id: Read this workspace only.
        workers: Pages asked for at the same time, over all tables (8).
        full: Read every table whole, whatever the cursor says.
        full_every_days: Read a table whole at least this often (7 days).
        max_wait: Seconds the run may wait on rate limits and backoff (900).
        max_requests: Requests the run may send.
        session: A `ReadSession` to share, whose owner closes it and reads its reports.

    Returns:
        A dlt source with one resource per table; select with ``.with_resources("initiatives", ...)``.

    Raises:
        ConfigError: A setting is missing or malformed.
        OrgxError: While the source is read, when a table cannot be.
    """
    gate = _SessionGate(
        session,
        lambda: load_config(
            api_key=api_key,
            base_url=base_url,
            workspace_id=workspace_id,
            workers=workers,
            full=full,
            full_every=None if full_every_days is None else timedelta(days=full_every_days),
            max_wait=max_wait,
            max_requests=max_requests,
        ),
    )
    return [_make_resource(table, gate.open, gate.release) for table in TABLES.values()]


class _SessionGate:
    """Opens a session for the first table that is read, and closes it after the last one that is being read."""

    def __init__(self, given: ReadSession | None, configure: Callable[[], OrgxConfig]) -> None:
        self._given = given
        self._config = given.config if given is not None else configure()
        self._own: ReadSession | None = None
        self._readers = 0
        self._lock = threading.Lock()

    def open(self) -> ReadSession:
        if self._given is not None:
            return self._given
        with self._lock:
            self._readers += 1
            if self._own is None:
                self._own = ReadSession(self._config, OrgxClient(self._config))
            return self._own

    def release(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0 and self._own is not None:
                self._own.close()
                self._own = None
