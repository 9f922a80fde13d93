"""Where a read begins, and what it leaves for the next one: tables of cases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orgx_source.api.listing import ListingReport
from orgx_source.reading.cursor import Beginning, Past, Wishes, begin, end

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
CURSOR = NOW - timedelta(days=1)
PAST = Past(CURSOR, NOW - timedelta(days=3), is_of_origin=True, has_rows=True)
WISHES = Wishes(
    can_be_asked=True,
    tells_changes=True,
    full=False,
    full_every=timedelta(days=7),
    overlap=timedelta(minutes=10),
)


def test_what_changed_since_the_cursor_is_read_and_ten_minutes_more() -> None:
    watermark = datetime(2026, 11, 19, 1, 50, tzinfo=UTC)
    assert begin(PAST, WISHES, NOW) == Beginning(watermark, 0, "changes since 2026-11-19 01:50 UTC")


@pytest.mark.parametrize(
    ("past", "wishes", "because"),
    [
        ({}, {"can_be_asked": False}, "the destination cannot be queried"),
        ({}, {"full": True}, "a full read was requested"),
        ({}, {"tells_changes": False}, "the route does not support reading changes"),
        ({"cursor": None}, {}, "no earlier full read is recorded"),
        ({"whole_read_at": None}, {}, "no earlier full read is recorded"),
        ({"has_rows": False}, {}, "no earlier full read is recorded"),
        ({}, {"keeps_order": False}, "the route did not return rows in the requested order"),
        ({"is_doubted": True}, {}, "rows were missing from the last full read; another full read must confirm this"),
        ({"was_cut_short": True}, {}, "a long read of changes was interrupted"),
        (
            {"is_of_origin": False},
            {},
            "the last read used another route, workspace or key, or its rows are not in the warehouse",
        ),
        ({"whole_read_at": NOW - timedelta(days=7)}, {}, "the last full read is 7.0 days old"),
        ({"whole_read_at": NOW - timedelta(days=9, hours=12)}, {}, "the last full read is 9.5 days old"),
    ],
)
def test_the_table_is_read_whole_when(past: dict[str, Any], wishes: dict[str, Any], because: str) -> None:
    assert begin(replace(PAST, **past), replace(WISHES, **wishes), NOW) == Beginning(None, 0, because)


def test_a_table_to_which_rows_are_only_added_is_read_whole_once() -> None:
    past = replace(PAST, whole_read_at=NOW - timedelta(days=400))
    assert begin(past, replace(WISHES, full_every=None), NOW).watermark is not None


@pytest.mark.parametrize(
    ("looked_back", "days", "looks_back"),
    [(None, 30, True), (timedelta(days=7), 30, True), (timedelta(days=6), 1, False)],
)
def test_a_feed_is_read_a_day_back_each_time_and_a_month_back_once_a_week(
    looked_back: timedelta | None, days: int, *, looks_back: bool
) -> None:
    past = replace(PAST, looked_back_at=None if looked_back is None else NOW - looked_back)
    beginning = begin(past, replace(WISHES, is_feed=True, full_every=None), NOW)
    assert (beginning.watermark, beginning.looks_back) == (CURSOR - timedelta(days=days), looks_back)


@pytest.mark.parametrize(("looked_back", "whole"), [(timedelta(days=6), False), (timedelta(days=7), True)])
def test_a_feed_whose_oldest_events_were_not_reached_is_read_in_full_once_a_week(
    looked_back: timedelta, *, whole: bool
) -> None:
    past = replace(PAST, looked_back_at=NOW - looked_back, left_gap=True)
    beginning = begin(past, replace(WISHES, is_feed=True, full_every=None), NOW)
    assert (beginning.watermark is None, beginning.looks_back) == (whole, whole)


def test_the_cursor_does_not_pass_a_gap_but_for_the_first_one() -> None:
    listing = ListingReport(finished=True, gap=True)
    assert end(listing, Past(CURSOR), NOW, whole_at=None, bound=NOW).cursor == CURSOR
    assert end(listing, Past(None), NOW, whole_at=None, bound=NOW).cursor == NOW


@pytest.mark.parametrize(
    ("cursor", "newest", "expected"),
    [
        (None, None, None),
        (CURSOR, None, CURSOR),
        (None, CURSOR, CURSOR),
        (CURSOR, CURSOR - timedelta(hours=1), CURSOR),
        (CURSOR, CURSOR + timedelta(hours=1), CURSOR + timedelta(hours=1)),
        (CURSOR, NOW + timedelta(hours=1), NOW),
    ],
)
def test_the_cursor_is_the_latest_change_but_never_after_the_start(
    cursor: datetime | None, newest: datetime | None, expected: datetime | None
) -> None:
    listing = ListingReport(finished=True)
    assert end(listing, Past(cursor), newest, whole_at=None, bound=NOW).cursor == expected


@pytest.mark.parametrize(
    ("verdict", "before", "whole_at", "expected"),
    [
        ("certified", CURSOR, NOW, NOW),
        ("repaired", CURSOR, NOW, NOW),
        ("uncertified", CURSOR, NOW, None),
        ("uncertified", None, NOW, NOW),
        ("certified", CURSOR, None, None),
    ],
)
def test_a_whole_read_counts_when_it_is_proven_or_the_first_one(
    verdict: str, before: datetime | None, whole_at: datetime | None, expected: datetime | None
) -> None:
    listing = ListingReport(finished=verdict != "uncertified", moved=verdict == "repaired")
    assert end(listing, Past(None, before), None, whole_at=whole_at, bound=NOW).whole_at == expected


@pytest.mark.parametrize(
    ("seen", "total", "exit_code"),
    [
        ({}, None, 0),
        ({"totals": (1, 9, 7)}, 7, 0),
        ({"totals": (1, 9, 7), "total_doubtful": True}, None, 0),
        ({"short_by": 1}, None, 4),
        ({"rows_without_id": 1}, None, 4),
        ({"gap": True, "may_be_mended": True}, None, 4),
        ({"gap": True}, None, 0),
    ],
)
def test_what_was_counted_is_reported_and_what_is_missing_makes_the_run_incomplete(
    seen: dict[str, Any], total: int | None, exit_code: int
) -> None:
    ending = end(ListingReport(finished=True, **seen), Past(), None, whole_at=None, bound=NOW)
    assert (ending.total, ending.exit_code) == (total, exit_code)
