"""A list that gives one answer and no further page, asked once more for each value of a filter: what that proves.

Judges answers; sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from orgx_source.api.envelope import Page, Row

# After so many answers that do not obey the filter, or refusals of it, and none that does, the rest is not asked.
TRIES = 2


@dataclass
class Slices:
    """The answers to one question, without a filter and with each of its values.

    Attributes:
        name: The filter: a key of the rows.
        whole: The answer without it.
        asked: Rows that every question asked for at most; None when that was left to OrgX.
        row_id: Reads a row's id.
        obeyed: Value to its answer.
        ignored: Values whose answers hold other rows.
        refused: Values that were answered with an error.
    """

    name: str
    whole: Page
    asked: int | None
    row_id: Callable[[Row], str | None]
    obeyed: dict[str, Page] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def values(self, named: Sequence[str]) -> Iterator[str]:
        """Yield the values to ask for: those named, and those that rows have; none once the filter proves useless."""
        met = (row.get(self.name) for page in self._pages() for row in page.rows)
        for value in dict.fromkeys([*named, *(value for value in met if isinstance(value, str) and value)]):
            if not self.obeyed and len(self.ignored) + len(self.refused) >= TRIES:
                return
            yield value

    def add(self, value: str, page: Page) -> None:
        """Take the answer for a value."""
        if self._obeys(value, page):
            self.obeyed[value] = page
        else:
            self.ignored.append(value)

    @property
    def brought_more(self) -> bool:
        """Whether the filter brought rows that the answer without it lacks: that one was cut."""
        return not self._union <= self._ids(self.whole)

    @property
    def full(self) -> list[str]:
        """Questions whose answers were cut: as far as the answers themselves tell, or known because others were."""
        cut = self.whole.is_all(self.asked) is False or self._is_full(self.whole) or self.brought_more
        return [question for question, page in self._open() if cut or self._is_full(page)]

    @property
    def suspected(self) -> list[str]:
        """Questions whose answers may be cut: none was longer, and nothing else shows how long one may be."""
        return [] if self.full else [question for question, _ in self._open()]

    @property
    def unnamed(self) -> int | None:
        """Rows whose value cannot be asked for; None when the answer without a filter was not cut."""
        if not self.obeyed or not (self.brought_more or self.full):
            return None
        return len(self._ids(self.whole) - self._union)

    def _open(self) -> Iterator[tuple[str, Page]]:
        """Yield the questions whose answers nothing proves to be all there is."""
        longest = max(len(page.rows) for page in self._pages())
        questions = {f"{self.name}={value}": page for value, page in self.obeyed.items()}
        if self._ids(self.whole) - self._union:
            questions["without a filter"] = self.whole
        for question, page in questions.items():
            ends = page.is_all(self.asked)
            if ends is False or (ends is None and page.rows and len(page.rows) >= longest):
                yield question, page

    def _is_full(self, page: Page) -> bool:
        size = page.limit if page.limit is not None else self.asked
        return page.is_all(self.asked) is False or (size is not None and len(page.rows) >= size)

    def _pages(self) -> list[Page]:
        return [self.whole, *self.obeyed.values()]

    def _ids(self, page: Page) -> set[str]:
        return {row_id for row in page.rows if (row_id := self.row_id(row)) is not None}

    @property
    def _union(self) -> set[str]:
        return set().union(*map(self._ids, self.obeyed.values()))

    def _obeys(self, value: str, page: Page) -> bool:
        """Whether an answer was filtered: OrgX may know a value under another name, but not under several."""
        found = {str(row.get(self.name)) for row in page.rows}
        if found <= {value}:
            return True
        return len(found) == 1 and not self._ids(page) >= self._ids(self.whole)
