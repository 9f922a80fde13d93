"""What one run did, table by table; the shape of ``run --json``."""

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
    """What a run did for one table.

    Attributes:
        route: Path that served the table; None when none did.
        requests: Requests sent for it, retries included.
        retries: Requests sent again.
        waited_seconds: Time its requests waited, added up.
        pages, passes, seams_repaired, duplicates: How the list was read.
        rows_read: Different rows that came.
        rows_new, rows_changed, rows_deleted: What was written.
        rows_in_warehouse: Rows there after the load that OrgX still lists; None when it was not counted.
        rows_out_of_sight: Of these, rows that this run could not see.
        rows_set_aside: Of these, rows that came only under another key, or in a run over another workspace.
        total_reported: What OrgX last counted; None when it did not.
        total_lowest, total_highest: What it counted while the table was read.
        cursor_before, cursor_after: Up to where changes are known, by OrgX's clock.
        verdict: How sure the read is; None when it failed. Of memory always ``sample``.
        reasons: Why it is not certified.
        error: Why it failed; None when it did not.
        exit_code: What the run must at least leave with because of this table.
        seconds: Time from the table's first request to its last row.
        rows_without_id: Rows that were kept out.
        closed_routes: Routes that refused, with their status.
        whole: Whether every row was read, not only what changed.
        resumed: Whether it went on where an earlier run had stopped.
        proof: What the verdict rests on, in words.
        note: Why it was not read although nothing is wrong; None where it was.
        best_verdict: What the verdict can be at best, whatever the read says.
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
        """Note something that was wrong in the warehouse and is no longer: the table is *repaired* at best."""
        self._lower_to("repaired", what)

    def doubt(self, why: str) -> None:
        """Note that the warehouse is not what the read should have made of it: the table is *uncertified*."""
        self._lower_to("uncertified", why)
        self.exit_code = self.exit_code or 4

    def _lower_to(self, verdict: Verdict, reason: str) -> None:
        self.reasons.append(reason)
        self.best_verdict = worse(self.best_verdict, verdict)
        if self.verdict is not None:
            self.verdict = worse(self.verdict, verdict)

    def note_spending(self, spending: Spending) -> None:
        """Take over what the table's requests cost."""
        self.requests, self.retries = spending.requests, spending.retries
        self.waited_seconds = round(spending.waited_seconds, 3)

    def note_listing(self, listing: ListingReport, *, pages: int) -> None:
        """Add what was seen in one pass.

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
        """Take over how sure the last pass is.

        Args:
            listing: The pass.
            total: What OrgX counts.
            whole: Whether every row was read.
        """
        self.verdict, self.whole, self.total_reported = worse(listing.verdict, self.best_verdict), whole, total
        self.rows_without_id = listing.rows_without_id
        self.reasons += [reason for reason in listing.reasons if reason not in self.reasons]
        if foreign := self.rows_out_of_sight - self.rows_set_aside:
            self.reasons.append(f"{foreign} rows of workspaces that this run does not see were left unchanged")
        if self.rows_set_aside:
            self.reasons.append(
                f"{self.rows_set_aside} rows that came only under another key or workspace were left unchanged; a "
                "run with these, or with --full where only the key changed, settles whether OrgX still lists them"
            )


@dataclass
class RunReport:
    """What a run did.

    Attributes:
        run_id: Id of the run.
        status: ``ok``, ``incomplete`` (try again later) or ``failed`` (some table, or all).
        exit_code: What ``orgx-sync run`` leaves with.
        requests: Requests sent, retries included.
        retries: Requests sent again.
        waited_seconds: Time spent waiting on limits and backoff.
        tables: Table name to its report.
        messages: What else happened, such as leftovers of an earlier run that were loaded.
        error: Why the whole run failed; None when it did not.
        reached: Whether the destination could be asked for its state, so that the run can be logged there.
        has_tables: Whether it holds any table after the run.
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
        """Take over what the run has spent, put the tables in order, and settle."""
        self.requests, self.retries = budget.spent, budget.retries
        self.waited_seconds = round(budget.waited, 3)
        self.tables = {name: self.tables[name] for name in (*TABLES, MEMORY_HITS) if name in self.tables}
        self.finished_at = finished_at
        self.settle()

    def settle(self) -> None:
        """Derive status and exit code from the tables; a failure outweighs what a later run would mend."""
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
    """Return the rows of `sync_log` for a run: one per table, also for those it did not get to.

    Args:
        report: The finished run.
        names: The tables that it was asked to bring up to date.
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
