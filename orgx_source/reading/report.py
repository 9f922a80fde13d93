"""The report of one run, table by table; the format of ``run --json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from orgx_source.api.limits import RateBudget, Spending
from orgx_source.api.listing import ListingReport, Verdict, worse
from orgx_source.errors import worst_exit_code
from orgx_source.tables import MEMORY_HITS, SYNC_LOG_COLUMNS, TABLES
from orgx_source.version import __version__

Status = Literal["ok", "incomplete", "failed"]
STATUSES: dict[int, Status] = {0: "ok", 4: "incomplete"}


@dataclass
class TableReport:
    """The result of a run for one table.

    Attributes:
        route: Path of the route that was read; None if none was.
        requests: Requests sent for it, retries included.
        retries: Requests sent again.
        waited_seconds: Total time its requests waited.
        pages, passes, seams_repaired, duplicates: Statistics of how the list was read.
        rows_read: Distinct rows received.
        rows_new, rows_changed, rows_deleted: Rows written, by kind.
        rows_in_warehouse: Rows not marked as deleted after the load; None if not counted.
        rows_out_of_sight: Of these, rows not visible to this run.
        rows_set_aside: Of these, rows received only with another key, or in a run for another workspace.
        total_reported: Last total reported by OrgX; None if it reported none.
        total_lowest, total_highest: Range of totals reported while the table was read.
        cursor_before, cursor_after: Time up to which changes are known, by OrgX's clock.
        verdict: How reliable the read is; None if it failed, or its rows were not loaded. For memory hits always
            ``sample``.
        reasons: Why the table is not certified.
        error: Why the read failed; None if it did not.
        exit_code: Exit code of the run required by this table.
        seconds: Time from the table's first request to its last row.
        rows_without_id: Rows skipped because they have no id.
        closed_routes: Routes that refused access, with their status.
        whole: Whether every row was read, not only the changes.
        resumed: Whether the read continued where an earlier run had stopped.
        proof: The evidence for the verdict, in words.
        note: Why the table was skipped although nothing is wrong; None if it was read.
        best_verdict: Upper limit for the verdict.
    """

    route: str | None = None
    requests: int = 0
    rows_read: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    rows_deleted: int = 0
    rows_in_warehouse: int | None = None
    total_reported: int | None = None
    verdict: Verdict | None = None
    reasons: list[str] = field(default_factory=list)
    error: str | None = None
    exit_code: int = 0
    seconds: float = 0.0
    rows_without_id: int = 0
    closed_routes: list[str] = field(default_factory=list)
    whole: bool = False
    resumed: bool = False
    retries: int = 0
    waited_seconds: float = 0.0
    pages: int = 0
    passes: int = 0
    seams_repaired: int = 0
    duplicates: int = 0
    rows_out_of_sight: int = 0
    rows_set_aside: int = 0
    total_lowest: int | None = None
    total_highest: int | None = None
    cursor_before: str | None = None
    cursor_after: str | None = None
    proof: str | None = None
    note: str | None = None
    best_verdict: Verdict = "certified"

    def mended(self, what: str) -> None:
        """Record an error in the warehouse that was fixed: the table is *repaired* at best."""
        self._lower_to("repaired", what)

    def doubt(self, why: str) -> None:
        """Record that the warehouse may not match OrgX: the table is *uncertified*."""
        self._lower_to("uncertified", why)
        self.exit_code = self.exit_code or 4

    def _lower_to(self, verdict: Verdict, reason: str) -> None:
        self.reasons.append(reason)
        self.best_verdict = worse(self.best_verdict, verdict)
        if self.verdict is not None:
            self.verdict = worse(self.verdict, verdict)

    def note_spending(self, spending: Spending) -> None:
        """Copy the cost of the table's requests."""
        self.requests, self.retries = spending.requests, spending.retries
        self.waited_seconds = round(spending.waited_seconds, 3)

    def note_listing(self, listing: ListingReport, *, pages: int) -> None:
        """Add the statistics of one pass.

        Args:
            listing: The pass.
            pages: Pages of all passes so far.
        """
        self.pages = pages
        self.duplicates += listing.repeats
        self.seams_repaired += listing.seams_repaired
        self.passes += listing.passes
        if listing.totals is not None:
            low, high, _ = listing.totals
            self.total_lowest = low if self.total_lowest is None else min(self.total_lowest, low)
            self.total_highest = high if self.total_highest is None else max(self.total_highest, high)

    def note_ending(self, listing: ListingReport, *, total: int | None, whole: bool) -> None:
        """Set the verdict from the last pass.

        Args:
            listing: The pass.
            total: OrgX's total.
            whole: Whether every row was read.
        """
        self.verdict, self.whole, self.total_reported = worse(listing.verdict, self.best_verdict), whole, total
        self.rows_without_id = listing.rows_without_id
        self.reasons += [reason for reason in listing.reasons if reason not in self.reasons]
        if foreign := self.rows_out_of_sight - self.rows_set_aside:
            self.reasons.append(f"{foreign} rows of workspaces not visible to this run were left unchanged")
        if self.rows_set_aside:
            self.reasons.append(
                f"{self.rows_set_aside} rows received only with another key or workspace were left unchanged; a "
                "run with that key or workspace, or with --full if only the key changed, checks whether OrgX still "
                "lists them"
            )


@dataclass
class RunReport:
    """The result of a run.

    Attributes:
        run_id: Id of the run.
        status: ``ok``, ``incomplete`` (try again later) or ``failed`` (some table, or all).
        exit_code: Exit code of ``orgx-sync run``.
        requests: Requests sent, retries included.
        retries: Requests sent again.
        waited_seconds: Time spent waiting on limits and backoff.
        tables: Table name to its report.
        messages: Other events, such as data of an earlier run that was loaded.
        error: Why the whole run failed; None if it did not.
        reached: Whether the destination's state could be read, so that the run can be logged there.
        has_tables: Whether the destination has any table after the run.
    """

    run_id: str
    started_at: datetime
    finished_at: datetime | None = None
    status: Status = "ok"
    exit_code: int = 0
    requests: int = 0
    retries: int = 0
    waited_seconds: float = 0.0
    tables: dict[str, TableReport] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    error: str | None = None
    reached: bool = field(default=False, repr=False)
    has_tables: bool = field(default=False, repr=False)

    def finish(self, budget: RateBudget, finished_at: datetime) -> None:
        """Copy the run's costs, sort the tables and set the final status."""
        self.requests, self.retries = budget.spent, budget.retries
        self.waited_seconds = round(budget.waited, 3)
        self.tables = {name: self.tables[name] for name in (*TABLES, MEMORY_HITS) if name in self.tables}
        self.finished_at = finished_at
        self.settle()

    def settle(self) -> None:
        """Derive status and exit code from the tables; a failure outranks what a later run would fix."""
        self.exit_code = worst_exit_code(self.exit_code, *(table.exit_code for table in self.tables.values()))
        self.status = STATUSES.get(self.exit_code, "failed")

    def to_json(self) -> dict[str, Any]:
        """Return what ``run --json`` prints."""
        document = asdict(self)
        del document["reached"], document["has_tables"]
        for table in document["tables"].values():
            del table["best_verdict"]
        return {
            **document,
            "started_at": self.started_at.isoformat(),
            "finished_at": self.finished_at.isoformat() if self.finished_at else None,
        }


def log_rows(report: RunReport, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the `sync_log` rows of a run: one per table, including those it did not reach.

    Args:
        report: The finished run.
        names: The tables requested.
    """
    rows = []
    for name in names:
        table = report.tables.get(name, TableReport())
        values = asdict(table)
        values |= {
            "run_id": report.run_id,
            "table_name": name,
            "started_at": report.started_at,
            "finished_at": report.finished_at,
            "status": report.status,
            "exit_code": report.exit_code,
            "error": table.error or report.error,
            "reasons": table.reasons or None,
            "closed_routes": table.closed_routes or None,
            "run_requests": report.requests,
            "run_retries": report.retries,
            "run_waited_seconds": report.waited_seconds,
            "package_version": __version__,
        }
        rows.append({column.name: values[column.name] for column in SYNC_LOG_COLUMNS})
    return rows
