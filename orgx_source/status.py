"""What the warehouse holds and how old it is, without a single request to OrgX."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from orgx_source.tables import TABLES
from orgx_source.times import parse_timestamp, utc_now
from orgx_source.warehouse import Warehouse


@dataclass
class TableStatus:
    """One table as it stands.

    Attributes:
        rows: Rows that OrgX listed at the last read.
        deleted: Rows that it listed once and no more.
        last_change: When the newest version was first seen.
        last_read: When the table was last read.
        last_whole_read: When every row of it was last read.
        route: Where it was read from.
    """

    rows: int | None
    deleted: int | None
    last_change: datetime | None
    last_read: datetime | None
    last_whole_read: datetime | None
    route: str | None


@dataclass
class StatusReport:
    """What `status` found.

    Attributes:
        tables: Table name to its state; tables that were never read are not in it.
        stale: Names of the tables whose last read is too old, or that were never read.
        exit_code: 0, or 4 when a table is stale.
    """

    tables: dict[str, TableStatus] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    exit_code: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return what ``status --json`` prints."""
        document = asdict(self)
        for table in document["tables"].values():
            table |= {key: value.isoformat() for key, value in table.items() if isinstance(value, datetime)}
        return document


def read_status(pipeline: Any, max_age: timedelta) -> StatusReport:
    """Read what is stored.

    Args:
        pipeline: From `make_pipeline`.
        max_age: How old the last read of a table may be.

    Raises:
        DestinationError: The destination cannot be opened.
    """
    report = StatusReport()
    warehouse = Warehouse(pipeline)
    try:
        # Brings the state that is stored with the data to a machine that has none.
        pipeline.sync_destination()
        states = pipeline.state.get("sources", {}).get("orgx", {}).get("resources", {})
        for name, table in TABLES.items():
            state = states.get(name)
            if not state:
                continue
            rows, deleted, last_change = warehouse.describe(table)
            report.tables[name] = TableStatus(
                rows,
                deleted,
                last_change,
                parse_timestamp(state.get("read_at")),
                parse_timestamp(state.get("whole_read_at")),
                state.get("route"),
            )
    finally:
        warehouse.close()
    oldest = utc_now() - max_age
    report.stale = [
        name
        for name in TABLES
        if (table_status := report.tables.get(name)) is None or (table_status.last_read or oldest) <= oldest
    ]
    report.exit_code = 4 if report.stale else 0
    return report
