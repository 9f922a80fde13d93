"""Ids keep their places, few or many, whatever they look like."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orgx_source.rows import row_ids
from orgx_source.rows.row_ids import RowIds

IDS = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda value: str(value).upper()),
    st.uuids().map(lambda value: value.hex),
    st.text(max_size=5),
    st.sampled_from(["", "0", "agent-7", "\ud800", "é", str(uuid.UUID(int=0)), "\x00" * 16]),
)


@pytest.fixture(autouse=True, scope="module")
def _few() -> Iterator[None]:
    """Leave the dict after three ids."""
    before, row_ids.FEW = row_ids.FEW, 3
    yield
    row_ids.FEW = before


@settings(max_examples=300)
@given(st.lists(st.lists(IDS, max_size=8), max_size=8))
def test_each_id_has_the_place_at_which_it_came(lists: list[list[str]]) -> None:
    found, model = RowIds(), {}
    for ids in lists:
        expected = [model.get(row_id) for row_id in ids]
        assert list(found.places(ids)) == expected
        assert [found.place(row_id) for row_id in ids] == expected
        assert [row_id in found for row_id in ids] == [place is not None for place in expected]
        assert found.isdisjoint(ids) is all(place is None for place in expected)
        found.add(ids)
        for row_id in ids:
            model.setdefault(row_id, len(model))
        assert list(found) == list(model)
        assert len(found) == len(model)


def test_a_table_that_grows_finds_all_of_them() -> None:
    ids = [f"00000000-0000-4000-8001-{number:012d}" for number in range(5_000)]
    found = RowIds()
    for begin in range(0, len(ids), 100):
        found.add(ids[begin : begin + 100])
    assert list(found.places(ids)) == list(range(5_000))
    assert set(found) == set(ids)
    assert "00000000-0000-4000-8001-000000005000" not in found
