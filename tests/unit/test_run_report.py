"""What a run writes down: of the last pass its certainty, of all passes the effort."""

from __future__ import annotations

from orgx_source.api.limits import Spending
from orgx_source.api.listing import ListingReport
from orgx_source.reading.report import TableReport


def test_what_was_spent_is_taken_over() -> None:
    report = TableReport()
    report.note_spending(Spending(requests=7, retries=2, waited_seconds=1.23456))
    assert (report.requests, report.retries, report.waited_seconds) == (7, 2, 1.235)


def test_passes_are_added_up_and_totals_span_all_of_them() -> None:
    report = TableReport()
    report.note_listing(ListingReport(repeats=1, seams_repaired=2, totals=(10, 12, 11)), pages=3)
    report.note_listing(ListingReport(repeats=4, passes=2), pages=5)
    report.note_listing(ListingReport(totals=(9, 11, 9)), pages=6)
    assert (report.pages, report.duplicates, report.seams_repaired, report.passes) == (6, 5, 2, 4)
    assert (report.total_lowest, report.total_highest) == (9, 12)


def test_the_end_tells_how_sure_the_last_pass_is_and_each_reason_once() -> None:
    report = TableReport(reasons=["known"], rows_out_of_sight=3)
    listing = ListingReport(finished=True, reasons=["known", "new"], rows_without_id=2)
    report.note_ending(listing, total=9, whole=True)
    assert (report.verdict, report.whole, report.total_reported, report.rows_without_id) == ("uncertified", True, 9, 2)
    assert report.reasons == [
        "known", "new", "3 rows of workspaces not visible to this run were left unchanged",
    ]  # fmt: skip
    aside = TableReport(rows_out_of_sight=5, rows_set_aside=2)
    aside.note_ending(ListingReport(), total=None, whole=True)
    assert [reason.partition(" rows")[0] for reason in aside.reasons] == ["3", "2"]
    unseen = TableReport()
    unseen.note_ending(ListingReport(finished=True), total=None, whole=False)
    assert unseen.reasons == []
