"""A list on a server that changes between any two page reads: what `Listing` has to survive."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orgx_source.api.envelope import Page, Row
from orgx_source.api.listing import RowKeys

START = datetime(2026, 4, 13, 6, tzinfo=UTC)

KEYS = RowKeys(
    id=lambda row: row.get("id"),
    created=lambda row: row.get("created"),
    updated=lambda row: row.get("updated"),
)


@dataclass
class MovingList:
    """Rows in one order; ``script`` holds the changes made before each page, by its number from 1.

    ``order`` is what the server really sorts by: ``created_asc``, ``created_desc``, ``updated_desc``, ``heap``
    (an edited row goes to the end, as in a table without ORDER BY), or ``anywhere`` (an edit puts it anywhere).
    ``total_is`` is what the total counts: the ``list``, the ``page``, or the ``limit``, whatever there is.
    """

    size: int
    order: str = "created_asc"
    seed: int = 0
    ties: int = 1
    clamp: int = 100
    with_total: bool = True
    total_is: str = "list"
    with_has_more: bool = True
    with_echo: bool = True
    undated: float = 0.0
    script: dict[int, list[tuple[Any, ...]]] = field(default_factory=dict)
    reads: int = 0
    ever: set[str] = field(default_factory=set, init=False, repr=False)
    gone: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.now = START
        self.rows: list[Row] = []
        self.serial = 0
        for number in range(self.size):
            made = START - timedelta(hours=self.size - number // self.ties)
            self._append(made)
        self.throughout = {row["id"] for row in self.rows}
        self._sort()

    def _append(self, made: datetime) -> Row:
        self.serial += 1
        dated = self.rng.random() >= self.undated
        row = {"id": f"r{self.serial}", "created": made, "updated": made if dated else None, "version": 1}
        self.rows.append(row)
        self.ever.add(row["id"])
        return row

    def _sort(self) -> None:
        last = datetime.min.replace(tzinfo=UTC)
        if self.order == "created_asc":
            self.rows.sort(key=lambda row: row["created"])
        elif self.order == "created_desc":
            self.rows.sort(key=lambda row: row["created"], reverse=True)
        elif self.order == "updated_desc":
            self.rows.sort(key=lambda row: row["updated"] or last, reverse=True)

    def tick(self) -> datetime:
        self.now += timedelta(milliseconds=7)
        return self.now

    def insert(self, place: float = 1.0) -> None:
        row = self._append(self.tick())
        if self.order in ("heap", "anywhere"):
            self.rows.pop()
            self.rows.insert(int(place * len(self.rows)), row)
        self._sort()

    def delete(self, place: float, count: int = 1) -> None:
        at = min(int(place * len(self.rows)), max(0, len(self.rows) - 1))
        dead = self.rows[at : at + count]
        del self.rows[at : at + count]
        for row in dead:
            self.gone.add(row["id"])
            self.throughout.discard(row["id"])

    def edit(self, place: float, to: float = 1.0) -> None:
        if not self.rows:
            return
        at = min(int(place * len(self.rows)), len(self.rows) - 1)
        row = {**self.rows[at], "updated": self.tick(), "version": self.rows[at]["version"] + 1}
        self.rows[at] = row
        if self.order == "heap":
            self.rows.append(self.rows.pop(at))
        elif self.order == "anywhere":
            self.rows.insert(int(to * len(self.rows)), self.rows.pop(at))
        self._sort()

    def apply(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("insert", place):
                self.insert(place)
            case ("delete" | "bulk", place, count):
                self.delete(place, count)
            case ("edit", place, to):
                self.edit(place, to)

    def fetch(self, offset: int, limit: int) -> Page:
        for step in self.script.get(self.reads, ()):
            self.apply(step)
        self.reads += 1
        limit = min(limit, self.clamp)
        rows = [dict(row) for row in self.rows[offset : offset + limit]]
        return Page(
            rows=rows,
            total={"list": len(self.rows), "page": len(rows), "limit": limit}[self.total_is]
            if self.with_total
            else None,
            offset=offset if self.with_echo else None,
            limit=limit if self.with_echo else None,
            has_more=offset + limit < len(self.rows) if self.with_has_more else None,
        )


def check_promise(listing: Any, source: MovingList, *, obeys: bool = True) -> dict[str, Row]:
    """Read ``listing`` to its end and hold it to its promise; return the rows by id.

    A list that is not sorted as asked (``obeys``), and never showed it, may lack rows: nothing tells them apart.
    """
    given: dict[str, Row] = {}
    batches = list(listing)
    for batch in batches:
        ids = [row["id"] for row in batch]
        assert len(ids) == len(set(ids)), "an id twice in one batch"
        for row in batch:
            if row["id"] in given:
                assert batch is batches[-1], "a row came again before the end"
                assert row["version"] > given[row["id"]]["version"], "a row came again, and not newer"
            given[row["id"]] = row
    assert given.keys() <= source.ever, "a ghost"
    missing = source.throughout - given.keys()
    if (obeys or not listing.report.order_obeyed) and listing.report.verdict != "uncertified":
        assert not missing, f"{len(missing)} rows missing from a {listing.report.verdict} read: {sorted(missing)[:5]}"
    return given
