"""Cross-checks a read before it counts: totals, rows that should have been received, old rows, older copies.

A read of changes sees only what OrgX reports as changed. This module checks the rest, with few or no requests.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from math import inf

from orgx_source.api.route_reader import RouteReader, row_keys
from orgx_source.reading.changes import SAME_TIME, Changes
from orgx_source.reading.deletions import Deletions
from orgx_source.reading.doubts import TOLERANCE
from orgx_source.reading.intake import Intake, Piece
from orgx_source.reading.report import TableReport
from orgx_source.reading.session import ReadSession
from orgx_source.reading.table_state import TableState
from orgx_source.tables import Table


class SecondLook:
    """Checks what one table's read of changes does not show.

    Attributes:
        sampled: Number of old rows compared.
    """

    def __init__(
        self,
        table: Table,
        session: ReadSession,
        changes: Changes,
        intake: Intake,
        deletions: Deletions,
        report: TableReport,
    ) -> None:
        """Prepare; sends no request.

        Args:
            table: The table.
            session: The shared resources of the run.
            changes: Its known rows.
            intake: Takes the rows requested here.
            deletions: Compares counts.
            report: Receives what was corrected.
        """
        self.sampled = 0
        self._table = table
        self._session = session
        self._changes = changes
        self._intake = intake
        self._deletions = deletions
        self._report = report

    def why_not_enough(
        self, reader: RouteReader, state: TableState, *, obeyed: bool
    ) -> Generator[Piece, None, str | None]:
        """Return why a full read must follow the read of changes; None if it is not needed.

        Args:
            reader: The reader, after reading the changes.
            state: The state of the table.
            obeyed: Whether OrgX's total obeys the workspace filter.

        Raises:
            OrgxError: The request for old rows failed.
        """
        if not self._deletions.adds_up(reader, state, self._report, obeyed=obeyed):  # guard: counts-that-differ
            # A row was deleted, or is hidden before the cursor.
            return "OrgX and the warehouse have different counts"
        if self._table.append_only:
            reaches_back = bool(reader.report.reasons) or self._reaches_back()  # guard: events-that-reach-back
            return None if reaches_back else "the events do not reach back to those of the last run"
        if reader.report.totals is None:
            reader.report.miss("OrgX reports no total: deletions are found by the next full read")
        if absent := self._absent(reader):  # guard: rows-that-should-have-come
            return f"{absent} rows were not received, although they changed later than some that were"
        if not self._changes.untraced:
            yield from self._sample(reader)
        if untraced := self._changes.untraced:  # guard: changes-without-a-trace
            self._report.mended(f"{untraced} old rows changed without a new timestamp; the table was read in full")
            return "old rows changed without a new timestamp"
        return None

    def _reaches_back(self) -> bool:
        """Return whether the events since the last run include one that was known before, if any are new.

        They overlap by a day. If a response has only new ones, it may have been truncated, whatever its total says.
        """
        known, changes = self._changes.known, self._changes
        if changes.since is None or not changes.new or known.seen != changes.new:
            return True
        return not self._deletions.made_between(changes.since, inf)

    def _absent(self, reader: RouteReader) -> int:
        """Return how many living rows a read of changes should have met by their time but did not.

        A list in the wrong order can look ordered: only missing rows reveal it.
        """
        oldest = self._changes.oldest_met
        if oldest is None or not reader.report.order_obeyed:
            return 0
        return sum(map(self._deletions.sees, self._changes.known.unseen_since(oldest + SAME_TIME)))

    def _sample(self, reader: RouteReader) -> Iterator[Piece]:
        """Read one page of rows from a random position in the list, if it is the table's turn."""
        total = reader.report.totals[2] if reader.report.totals else 0
        is_longer = reader.has_places and total > reader.report.received
        if not is_longer or not self._session.may_sample(self._table.name):
            return
        rows = reader.sample(total, random.random()) or []
        self.sampled = len(rows)
        yield from self._intake.gather(rows)
        yield from self._intake.flush()

    def ask_for_newer(self, reader: RouteReader, state: TableState) -> Iterator[Piece]:
        """Request rows received in older versions than the stored ones by id; those that stay older are not written.

        Args:
            reader: The reader, after reading the table or its changes.
            state: Stores which rows stay older.

        Raises:
            OrgxError: The request for the rows failed.
        """
        older, self._changes.older = self._changes.older, {}
        if older:
            if self._are_seen_again(older, state):  # guard: many-older-rows
                self._changes.believed |= older
            yield from self._confirm(older, reader)
        state.older = still = self._changes.older
        if went_back := self._changes.went_back:
            self._report.mended(
                f"{went_back} rows reverted to an older version, which an earlier run had also received"
            )
        if still:
            reader.report.miss(
                f"{len(still)} rows were received in a version older than the stored one; the stored version was kept. "
                "If the next run receives the older version again, it accepts it",
                gap=True,
            )

    def _are_seen_again(self, older: dict[str, str], state: TableState) -> bool:
        """Return whether an earlier run saw these rows too: all of the sample that it kept came again."""
        sample, unlisted = state.older, state.older_unlisted
        return self._changes.went_back >= len(sample) and 0 < len(older) <= unlisted * (1 + TOLERANCE)

    def _confirm(self, older: dict[str, str], reader: RouteReader) -> Iterator[Piece]:
        rows = reader.find_rows(list(older))
        self._changes.confirming = True
        yield from self._intake.gather(rows)
        yield from self._intake.flush()
        self._changes.confirming = False
        reader.report.moved = True
        came = set(map(row_keys(self._table).id, rows))
        self._changes.older |= {row_id: row_hash for row_id, row_hash in older.items() if row_id not in came}
