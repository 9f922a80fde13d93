"""Reports the content and age of the warehouse, without requests to OrgX."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orgx_source.tables import SYNC_LOG_COLUMNS, TABLES, Table
from orgx_source.times import parse_timestamp, utc_now
from orgx_source.warehouse.target import empty_dataset

if TYPE_CHECKING:
    from orgx_source.warehouse.dataset import Warehouse
    from orgx_source.warehouse.stored_file import StoredFile


@dataclass
class TableStatus:
    """The state of one table.

    Attributes:
        rows: Rows that OrgX listed at the last read.
        deleted: Rows that it no longer lists.
        last_change: When the newest version was first seen.
        last_read: When the table was last read.
        last_whole_read: When it was last read in full.
        route: Route of the last read.
        verdict: Verdict of the last logged read; None if it failed or none was logged.
        error: Why the last logged read failed; None if it did not.
        note: Why the table was skipped although nothing is wrong; None if it was read.
    """

    rows: int | None
    deleted: int | None
    last_change: datetime | None
    last_read: datetime | None
    last_whole_read: datetime | None
    route: str | None
    verdict: str | None = None
    error: str | None = None
    note: str | None = None


@dataclass
class PastRun:
    """One run according to `sync_log`.

    Attributes:
        run_id: Its id.
        started_at, finished_at: Start and end.
        status: ok, incomplete or failed.
        requests: Requests sent, retries included.
        rows_new, rows_changed, rows_deleted: Rows written, over all tables.
        doubtful: Tables with an uncertified read.
        failed: Tables that could not be read.
    """

    run_id: str
    started_at: datetime
    finished_at: datetime | None
    status: str
    requests: int
    rows_new: int = 0
    rows_changed: int = 0
    rows_deleted: int = 0
    doubtful: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass
class StatusReport:
    """The result of `status`.

    Attributes:
        tables: Table name to its state; tables never read are missing.
        stale: Names of the tables whose last read is too old, or that were never read; not those that are not open.
        runs: The last ten runs, newest first.
        exit_code: 0, or 4 if a table is stale.
    """

    tables: dict[str, TableStatus] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    runs: list[PastRun] = field(default_factory=list)
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return what ``status --json`` prints."""
        document = asdict(self)
        for table in [*document["tables"].values(), *document["runs"]]:
            table |= {key: value.isoformat() for key, value in table.items() if isinstance(value, datetime)}
        return document


RUNS_SHOWN = 10


def read_file_status(file: Path, dataset: str, max_age: timedelta) -> StatusReport | None:
    """Read the status of a DuckDB file without dlt; None if that needs dlt, or another process has the file open.

    Args:
        file: The file.
        dataset: Its dataset.
        max_age: Maximum age of a table's last read.
    """
    from orgx_source.warehouse.stored_file import StoredFile, UnknownFormError

    with suppress(UnknownFormError), closing(StoredFile(file, dataset)) as stored:
        return summarise(stored, stored.states(), max_age)
    return None


def read_status(pipeline: Any, max_age: timedelta) -> StatusReport:
    """Read the status of a warehouse.

    Args:
        pipeline: From `make_pipeline`.
        max_age: Maximum age of a table's last read.

    Raises:
        ConfigError: The destination's package or settings cannot be used.
        DestinationError: It cannot be opened.
    """
    from orgx_source.warehouse.dataset import Warehouse

    warehouse = Warehouse(pipeline)
    try:
        return summarise(warehouse, warehouse.remembered()[0], max_age)
    finally:
        warehouse.close()


def summarise(stored: StoredFile | Warehouse, states: dict[str, Any], max_age: timedelta) -> StatusReport:
    """Return the status of a dataset.

    Args:
        stored: The dataset.
        states: Table name to its state in dlt.
        max_age: Maximum age of a table's last read.

    Raises:
        DestinationError: It is empty.
    """
    report = StatusReport()
    with stored.kept_open():
        log = stored.read_log([column.name for column in SYNC_LOG_COLUMNS])
        notes = {row["table_name"]: row.get("note") for row in log}
        for name, table in TABLES.items():
            # What the last run was not let into may never have been read.
            if (state := states.get(name)) or notes.get(name):
                report.tables[name] = _read_table(stored, table, state or {})
    if not (report.tables or log):
        raise empty_dataset(stored.dataset)
    for row in log:
        if table_status := report.tables.get(row["table_name"]):
            table_status.verdict, table_status.error = row.get("verdict"), row.get("error")
            table_status.note = notes[row["table_name"]]
    report.runs = _past_runs(log)[:RUNS_SHOWN]
    oldest = utc_now() - max_age
    report.stale = [
        name
        for name, table in TABLES.items()
        if not (table.optional or notes.get(name))  # guard: not-open-is-not-stale
        and ((table_status := report.tables.get(name)) is None or (table_status.last_read or oldest) <= oldest)
    ]
    report.exit_code = 4 if report.stale else 0
    return report


def _read_table(stored: StoredFile | Warehouse, table: Table, state: dict[str, Any]) -> TableStatus:
    rows, deleted, last_change = stored.describe(table)
    # A read counts only if its load arrived.
    arrived = stored.has_loads([*(state.get("builds_on") or ()), str(state.get("load_id"))])
    return TableStatus(
        rows,
        deleted,
        last_change,
        parse_timestamp(state.get("read_at")) if arrived else None,
        parse_timestamp(state.get("whole_read_at")) if arrived else None,
        state.get("route"),
    )


def _past_runs(log: list[dict[str, Any]]) -> list[PastRun]:
    """Return the runs of a log that is sorted by time, newest first."""
    runs: dict[str, PastRun] = {}
    for row in log:
        run = runs.get(row["run_id"])
        if run is None:
            run = PastRun(
                row["run_id"], row["started_at"], row["finished_at"], row["status"], row.get("run_requests") or 0
            )
            runs[run.run_id] = run
        run.rows_new += row.get("rows_new") or 0
        run.rows_changed += row.get("rows_changed") or 0
        run.rows_deleted += row.get("rows_deleted") or 0
        if row.get("error"):
            run.failed.append(row["table_name"])
        elif row.get("verdict") == "uncertified":
            run.doubtful.append(row["table_name"])
    return list(runs.values())[::-1]
