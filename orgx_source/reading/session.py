"""The resources shared by all tables of a run: connection, threads, workspaces, reports and progress."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Row
from orgx_source.api.limits import Spending
from orgx_source.api.query import Parent
from orgx_source.api.readers import open_route
from orgx_source.api.route_choice import read_first_open
from orgx_source.api.route_reader import Access, RouteReader, row_keys
from orgx_source.api.routes import Route
from orgx_source.config import OrgxConfig
from orgx_source.errors import ConfigError, OrgxError, RouteClosedError
from orgx_source.login.tokens import identity
from orgx_source.reading.report import TableReport
from orgx_source.reading.scope import LocalIds, Look, Sight, View, is_same_workspace, key_digest
from orgx_source.rows.known_rows import KnownRows
from orgx_source.tables import TABLES, Table
from orgx_source.times import utc_now
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.duckdb_file import LockPatience

if TYPE_CHECKING:
    from orgx_source.reading.intake import Piece
    from orgx_source.rows.handed import Handed

# Maximum number of workspaces listed in the error about one that the key does not see.
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Stretch:
    """How much of a table is read before it is loaded, which is the most that a kill can cost.

    Attributes:
        pages: Pages of one table.
        size: Bytes of new and changed rows of one table, as counted by Arrow: DuckDB merges them at once in limited
            memory.
        seconds: Time since the stretch began.
    """

    pages: int = 1200
    size: int = 48_000_000
    seconds: float = 60.0

    def is_over(self, pages: int, size: int, seconds: float) -> bool:
        """Return whether a table should be loaded now, after reading this much in the stretch."""
        return pages >= self.pages or size >= self.size or seconds >= self.seconds


@dataclass(frozen=True, slots=True)
class SeenWorkspaces:
    """The workspaces that a key sees.

    Attributes:
        names: Id to name, or None if it has none.
        all: Whether OrgX listed them all; otherwise there may be more.
    """

    names: dict[str, str | None]
    all: bool

    def describe(self) -> str:
        """Return their names and ids for a message."""
        shown = [f"{name} ({row_id})" if name else row_id for row_id, name in list(self.names.items())[:SHOWN]]
        more = len(self.names) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more else "")


class PieceReader(Protocol):
    """Gives the rows of one table to one or several loads.

    Attributes:
        finished: False if there is another stretch.
        handed: The content of the last stretch's load, by the name of the table in the warehouse.
    """

    finished: bool
    handed: dict[str, Handed]

    @property
    def was_closed(self) -> bool:
        """Return whether no route of an optional table was open."""

    @property
    def living(self) -> int:
        """Return the number of rows known before that are not marked as deleted."""

    def pieces(self, state: dict[str, Any], load_id: str) -> Iterator[Piece]:
        """Yield the pieces of this stretch."""

    def close(self) -> None:
        """Discard the remaining rows."""


@dataclass
class ReadSession:
    """The resources shared by all tables of a run.

    Attributes:
        config: The settings.
        client: The OrgX client; closed with the session.
        reports: Table name to its report.
        collect_errors: Whether a failing table is reported and the others continue; otherwise its error is raised.
        on_progress: Called with (table, requests, rows) after each list of rows.
        clock: This machine's time in UTC.
        stretch: How much is read before a load; None reads everything first.
        open_tables: Tables whose read continues in the next stretch, with their readers.
        emptied: Tables with recreated columns, whose rows must be written again.
    """

    config: OrgxConfig
    client: OrgxClient
    reports: dict[str, TableReport] = field(default_factory=dict)
    collect_errors: bool = False
    on_progress: Callable[[str, int, int], None] | None = None
    clock: Callable[[], datetime] = utc_now
    stretch: Stretch | None = None
    open_tables: dict[str, PieceReader] = field(default_factory=dict)
    emptied: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.executor = ThreadPoolExecutor(self.config.workers, thread_name_prefix="orgx")
        self._lock = threading.Lock()
        self._workspace: Row | None = None
        self._workspace_error: OrgxError | None = None
        self._seen_workspaces: SeenWorkspaces | None = None
        self.key = key_digest(self.config.api_key or identity(self.config))
        self._warehouse: Warehouse | None = None
        self._began = time.monotonic()
        self._samples = self.config.sample
        self.patience = LockPatience(self.config.lock_timeout)

    def begin_stretch(self) -> None:
        """Restart the time of a stretch."""
        self._began = time.monotonic()

    def read_again(self, tables: list[str], refused: str, refusal: OrgxError) -> list[str]:
        """Discard the rows read since the last successful load; return the tables to read again.

        Args:
            tables: The tables.
            refused: One of them, which failed and is not read again.
            refusal: The reason.
        """
        for name in tables:
            self.stop_reading(name)
            if name != refused:
                self.reports[name] = TableReport()
        report = self.report(refused)
        report.error, report.exit_code, report.verdict = str(refusal), refusal.exit_code, None
        return [name for name in tables if name != refused]

    def stop_reading(self, table: str) -> None:
        """Discard the rest of a read that continues in the next stretch, if it does."""
        if (reader := self.open_tables.pop(table, None)) is not None:
            reader.close()

    def stretch_is_over(self, pages: int, size: int) -> bool:
        """Return whether a table should be loaded now, after this many pages and bytes in the stretch."""
        return self.stretch is not None and self.stretch.is_over(pages, size, time.monotonic() - self._began)

    def warehouse(self, pipeline: Any) -> Warehouse:
        """Return the dataset of the running pipeline.

        Raises:
            ConfigError: Its tables cannot be named.
            DestinationError: It cannot be opened.
        """
        with self._lock:
            if self._warehouse is None:
                warehouse = Warehouse(pipeline, self.patience, trusted=not self.config.full)
                warehouse.check_names()
                self._warehouse = warehouse
            return self._warehouse

    def workspace(self) -> Row:
        """Return the workspace that the key resolves to; requested once.

        Raises:
            OrgxError: From the client; the same error for every table.
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

    def listed_workspaces(self) -> set[str]:
        """Return the ids of the workspaces that OrgX lists for this key; requested once, on demand.

        Raises:
            OrgxError: From the client.
        """
        return set(self._list_workspaces().names)

    def check_workspace(self) -> Row:
        """Return the workspace that the key resolves to; fail if a requested one is not visible to the key.

        The workspaces of the key are requested only if it resolves to a different one than requested.

        Raises:
            ConfigError: The requested workspace is not in the list of workspaces that the key sees.
            OrgxError: From the client.
        """
        own, wanted = self.workspace(), self.config.workspace_id
        if wanted is None or self._lists(wanted) or not self._list_workspaces().all:
            return own
        raise ConfigError(
            f"Workspace {wanted} (--workspace, or SOURCES__ORGX__WORKSPACE_ID) is not visible: this key sees "
            f"{self._list_workspaces().describe()}"
        )

    def workspace_doubt(self) -> str | None:
        """Return why a table without rows may not be empty: it is unknown whether the key sees that workspace."""
        wanted = self.config.workspace_id
        if wanted is None or self._lists(wanted):
            return None
        return f"no row was received, and OrgX does not list the workspaces of this key; {wanted} may be unknown to it"

    def _lists(self, wanted: str) -> bool:
        own = str(self.workspace()["id"])
        return is_same_workspace(wanted, own) or any(
            is_same_workspace(wanted, row_id) for row_id in self._list_workspaces().names
        )

    def _list_workspaces(self) -> SeenWorkspaces:
        own = self.workspace()
        with self._lock:
            if self._seen_workspaces is None:
                names, complete = {str(own["id"]): own.get("name")}, False
                try:
                    complete = self._ask_for_workspaces(names)
                except OrgxError as error:
                    if error.exit_code != 1:
                        raise
                self._seen_workspaces = SeenWorkspaces(names, complete)
            return self._seen_workspaces

    def _ask_for_workspaces(self, names: dict[str, Any]) -> bool:
        """Add the workspaces that OrgX lists for this key; return whether these are all."""
        if (told := self.client.workspaces) is not None:
            names.update({str(row["id"]): row.get("name") for row in told})
            return True
        # Without the filter, because the other workspaces matter here.
        client = copy.copy(self.client)
        client.config = replace(client.config, workspace_id=None)
        table, readers = TABLES["workspaces"], list[RouteReader]()

        def read(route: Route) -> Iterator[list[Row]]:
            readers.append(open_route(replace(self._access(), client=client), table, route))
            yield from readers[-1].rows()

        keys = row_keys(table)
        for rows in read_first_open(table.name, self.config.routes, read, [], self.config.doors):
            listed = {row_id: row.get("name") for row in rows if (row_id := keys.id(row)) is not None}
            # The list's spelling of an id replaces that of bootstrap.
            for other in [name for name in names if any(is_same_workspace(name, row_id) for row_id in listed)]:
                del names[other]
            names.update(listed)
        report = readers[-1].report
        # The reader adds the key's own workspace if OrgX does not list it; the list is then incomplete.
        lists_own = report.received >= len(names)
        return lists_own and readers[-1].route.caveat is None and not (report.short_by or report.total_doubtful)

    def sight(self, own: str) -> Sight:
        """Return the workspaces visible to this run.

        Args:
            own: The workspace that the key resolves to.
        """
        return Sight(self.config.workspace_id, own, self.listed_workspaces)

    def view(self, table: Table, ids_home: str, known: KnownRows) -> View:
        """Return the part of a table that is visible to this run.

        Args:
            table: The table.
            ids_home: The workspace whose ids are unchanged, for ids that are unique within a workspace only.
            known: The rows in the warehouse.
        """
        own, wanted = str(self.workspace()["id"]), self.config.workspace_id
        workspace = wanted or own
        look = Look(self.key, workspace.casefold(), wanted is not None)
        if not table.local_ids:
            return View(self.sight(own), look, self.config.full)
        # Its rows rarely name a workspace, and it is unknown whose rows OrgX lists; only the run's own is certain.
        sight = Sight(None, workspace, set)
        return View(sight, look, self.config.full, LocalIds(table, ids_home, workspace, known))

    def open_route(self, table: Table, route: Route, spending: Spending | None = None) -> RouteReader:
        """Return a reader of one table from one route; sends no request except the one for the workspace."""
        self.workspace()
        return open_route(self._access(), table, route, spending)

    def _access(self) -> Access:
        return Access(self.client, self.executor, self._workspace or {}, self._artifact_parents, self._told_workspaces)

    def _told_workspaces(self) -> tuple[list[str], bool]:
        seen = self._list_workspaces()
        return list(seen.names), seen.all

    def _ids_of(self, table: Table, access: Access) -> Iterator[str]:
        """Yield the ids of a table's rows from the first open route."""
        keys = row_keys(table)
        pages = read_first_open(
            table.name,
            self.config.routes,
            lambda route: open_route(access, table, route).rows(),
            [],
            self.config.doors,
        )
        yield from (row_id for rows in pages for row in rows if (row_id := keys.id(row)) is not None)

    def _artifact_parents(self) -> Iterator[Parent]:
        """Yield all entities an artifact can be attached to that OrgX lists for this key."""
        for table in TABLES.values():
            if table.entity_type is not None:
                with suppress(RouteClosedError):
                    for row_id in self._ids_of(table, self._access()):
                        yield table.entity_type, row_id

    def latest_time(self) -> datetime:
        """Return the later time of OrgX's and this machine's clock: no recorded time is later."""
        told = self.client.server_time
        return self.clock() if told is None else max(told, self.clock())

    def may_sample(self, table: str) -> bool:
        """Return whether old rows of a table may be sampled; each table has its turn every other day."""
        if TABLES[table].optional:
            return False
        turn = (self.clock().toordinal() + list(TABLES).index(table)) % 2 == 0
        with self._lock:
            if not turn or self._samples == 0:
                return False
            self._samples -= 1
            return True

    def orgx_time(self) -> datetime:
        """Return a time that is not after now, by OrgX's clock, if known, and by this machine's."""
        told = self.client.server_time
        return self.clock() if told is None else min(told, self.clock())

    def note_progress(self, table: str, requests: int, rows: int) -> None:
        """Report the progress of a table."""
        if self.on_progress is not None:
            self.on_progress(table, requests, rows)

    def report(self, table: str) -> TableReport:
        """Return the report of a table, created on first use."""
        with self._lock:
            return self.reports.setdefault(table, TableReport())

    def close(self) -> None:
        """Stop the threads and close the connections."""
        for reader in self.open_tables.values():
            reader.close()
        interrupted = self.client.budget.stopped
        # Waiting threads would wait in vain: the run is over.
        self.client.budget.stop()
        if interrupted:
            self.patience.stop()
        # An interrupt does not wait for pending responses.
        self.executor.shutdown(wait=not interrupted, cancel_futures=True)
        if self._warehouse is not None:
            self._warehouse.close()
        self.client.close()
