"""What all tables of one run share: connection, threads, workspace, reports, and how far each table has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Row
from orgx_source.api.limits import Spending
from orgx_source.api.route_reader import RouteReader, row_keys
from orgx_source.api.routes import ROUTES, Route
from orgx_source.config import OrgxConfig
from orgx_source.errors import OrgxError, RouteClosedError
from orgx_source.reading.report import TableReport
from orgx_source.tables import TABLES, Table
from orgx_source.times import utc_now
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.duckdb_file import LockPatience


@dataclass(frozen=True, slots=True)
class Stretch:
    """How much of a table is read before it is loaded: what a kill can cost.

    Attributes:
        pages: Pages of one table.
        size: Bytes of new and changed rows of one table, as Arrow counts them: what DuckDB merges at once is to fit
            into the memory it is given.
        seconds: Time since the stretch began.
    """

    pages: int = 1200
    size: int = 48_000_000
    seconds: float = 60.0


@dataclass
class ReadSession:
    """What all tables of one run share.

    Attributes:
        config: The settings.
        client: The door to OrgX; closed with the session.
        reports: Table name to what was done for it.
        collect_errors: Whether a failing table is reported, so that the others go on; else its error is raised.
        on_progress: Called with (table, pages, rows) after each list of rows.
        clock: This machine's time in UTC.
        stretch: How much is read before it is loaded; None reads all at once.
        open_tables: Tables whose read goes on in the next stretch, with their readers.
    """

    config: OrgxConfig
    client: OrgxClient
    reports: dict[str, TableReport] = field(default_factory=dict)
    collect_errors: bool = False
    on_progress: Callable[[str, int, int], None] | None = None
    clock: Callable[[], datetime] = utc_now
    stretch: Stretch | None = None
    open_tables: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.executor = ThreadPoolExecutor(self.config.workers, thread_name_prefix="orgx")
        self._lock = threading.Lock()
        self._workspace: Row | None = None
        self._workspace_error: OrgxError | None = None
        self._listed: set[str] | None = None
        self._warehouse: Warehouse | None = None
        self._began = time.monotonic()
        self.patience = LockPatience(self.config.lock_timeout)

    def begin_stretch(self) -> None:
        """Start the time of a stretch anew."""
        self._began = time.monotonic()

    def stretch_is_over(self, pages: int, size: int) -> bool:
        """Return whether a table that has read so many pages and bytes in this stretch should be loaded now."""
        if self.stretch is None:
            return False
        if pages >= self.stretch.pages or size >= self.stretch.size:
            return True
        return time.monotonic() - self._began >= self.stretch.seconds

    def warehouse(self, pipeline: Any) -> Warehouse:
        """Return the dataset that the running pipeline fills.

        Raises:
            ConfigError: Its tables cannot be named.
            DestinationError: It cannot be opened.
        """
        with self._lock:
            if self._warehouse is None:
                warehouse = Warehouse(pipeline, self.patience)
                warehouse.check_names()
                self._warehouse = warehouse
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

    def listed_workspaces(self) -> set[str]:
        """Return the ids of the workspaces that OrgX lists for this key; asked for once, and only when needed.

        Raises:
            OrgxError: From the client.
        """
        own = str(self.workspace()["id"])
        with self._lock:
            if self._listed is None:
                table, self._listed = TABLES["workspaces"], {own}
                keys = row_keys(table)
                reader = RouteReader(self.client, table, ROUTES[table.name][0], self.executor)
                try:
                    self._listed |= {row_id for rows in reader.rows() for row in rows if (row_id := keys.id(row))}
                except OrgxError as error:
                    if error.exit_code != 1:
                        raise
            return self._listed

    def route_reader(self, table: Table, route: Route, spending: Spending | None = None) -> RouteReader:
        """Return a reader of one table from one route; no request is made for it but the one for the workspace."""
        return RouteReader(
            self.client,
            table,
            route,
            self.executor,
            workspace=self.workspace(),
            parents=self._artifact_parents,
            spending=spending,
        )

    def _artifact_parents(self) -> Iterator[tuple[str, str]]:
        """Yield (entity type, id) of everything an artifact can be attached to, from whatever route is open."""
        for name in ("initiatives", "workstreams", "milestones", "tasks", "decisions"):
            keys = row_keys(TABLES[name])
            for route in ROUTES[name]:
                try:
                    for rows in self.route_reader(TABLES[name], route).rows():
                        for row in rows:
                            if row_id := keys.id(row):
                                yield name[:-1], row_id
                    break
                except RouteClosedError:
                    continue

    def rows_in_workspace(self, rows: list[Row]) -> list[Row]:
        """Keep rows of the workspace asked for, and rows that name none: OrgX's own filter is not always trusted."""
        wanted = self.config.workspace_id
        if wanted is None:
            return rows
        keys = ("workspace_id", "workspaceId", "command_center_id", "commandCenterId")
        kept = []
        for row in rows:
            named = {value for key in keys if isinstance(value := row.get(key), str) and value}
            if not named or wanted in named:
                kept.append(row)
        return kept

    def orgx_time(self) -> datetime:
        """Return a time that is not after now, by OrgX's clock where it tells it, and by this machine's."""
        told = self.client.server_time
        return self.clock() if told is None else min(told, self.clock())

    def report(self, table: str) -> TableReport:
        """Return the report of a table, a new one the first time."""
        with self._lock:
            return self.reports.setdefault(table, TableReport())

    def close(self) -> None:
        """Stop the threads and close the connections."""
        for reader in self.open_tables.values():
            reader.close()
        interrupted = self.client.budget.stopped
        # Whoever still waits there waits for nothing: the run is over.
        self.client.budget.stop()
        if interrupted:
            self.patience.stop()
        # Who interrupts a run is not kept until an answer comes that is on its way.
        self.executor.shutdown(wait=not interrupted, cancel_futures=True)
        if self._warehouse is not None:
            self._warehouse.close()
        self.client.close()
