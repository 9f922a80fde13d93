"""Reads a list without further pages once per value of a filter, and judges what that proves.

Sends no requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from orgx_source.api.envelope import Page, Row

# After this many responses that ignore or refuse the filter, and none that obeys it, the rest is not requested.
TRIES = 2


@dataclass
class Slices:
    """The responses to one query, without the filter and with each of its values.

    Attributes:
        name: The filter: a key of the rows.
        whole: The response without it.
        asked: Requested limit; None if it was left to OrgX.
        row_id: Reads a row's id.
        obeyed: Value to its response.
        ignored: Values whose responses have other rows.
        refused: Values that returned an error.
    """

    name: str
    whole: Page
    asked: int | None
    row_id: Callable[[Row], str | None]
    obeyed: dict[str, Page] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def values(self, named: Sequence[str]) -> Iterator[str]:
        """Yield the values to request: the declared ones and those found in rows, until the filter proves useless."""
        met = (row.get(self.name) for page in self._pages() for row in page.rows)
        for value in dict.fromkeys([*named, *(value for value in met if isinstance(value, str) and value)]):
            if not self.obeyed and len(self.ignored) + len(self.refused) >= TRIES:
                return
            yield value

    def add(self, value: str, page: Page) -> None:
        """Add the response for a value."""
        if self._obeys(value, page):
            self.obeyed[value] = page
        else:
            self.ignored.append(value)

    @property
    def brought_more(self) -> bool:
        """Whether the filter returned rows that the response without it lacks, which was therefore truncated."""
        return not self._union <= self._ids(self.whole)

    @property
    def full(self) -> list[str]:
        """Queries with truncated responses, according to the responses themselves or to the filtered ones."""
        cut = self.whole.is_all(self.asked) is False or self._is_full(self.whole) or self.brought_more
        return [question for question, page in self._open() if cut or self._is_full(page)]

    @property
    def suspected(self) -> list[str]:
        """Queries whose responses may be truncated: none was longer, and the maximum length is unknown."""
        return [] if self.full else [question for question, _ in self._open()]

    @property
    def unnamed(self) -> int | None:
        """Rows whose value cannot be requested; None if the response without a filter was not truncated."""
        if not self.obeyed or not (self.brought_more or self.full):
            return None
        return len(self._ids(self.whole) - self._union)

    def _open(self) -> Iterator[tuple[str, Page]]:
        """Yield the queries whose responses are not proven to be complete."""
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
        """Whether a response was filtered: OrgX may use another name for a value, but not several."""
        found = {str(row.get(self.name)) for row in page.rows}
        if found <= {value}:
            return True
        return len(found) == 1 and not self._ids(page) >= self._ids(self.whole)
