"""Rows come one by one or many at once, known or not, and are known as they came last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orgx_source.rows.known_rows import KnownRow, KnownRows

# The second is as long as a hash.
NOT_OURS = ("no hash of ours", "no hash of ours!")
ROWS = st.tuples(
    st.sampled_from([f"row {number}" for number in range(6)]),
    st.builds(
        KnownRow,
        st.sampled_from(["", "0123456789abcdef", "0" * 16, "ffffffffffffffff", *NOT_OURS]),
        st.booleans(),
        st.sampled_from([None, "a", "b"]),
        st.none(),
        st.none() | st.sampled_from([0.0, 1.5e9]),
    ),
)


@given(st.lists(st.lists(ROWS, max_size=5), max_size=6), st.sets(st.integers(0, 5)))
def test_a_row_is_known_as_it_came_last(batches: list[list[tuple[str, KnownRow]]], seen: set[int]) -> None:
    known, model = KnownRows(), {}
    for batch in batches:
        rows = [row for _, row in batch]
        known.add(
            [row_id for row_id, _ in batch],
            [row.row_hash for row in rows],
            [row.workspace for row in rows],
            [row.deleted for row in rows],
            [row.updated for row in rows],
        )
        model.update(batch)
    # A hash that is none of ours equals none, and reads as none.
    model = {
        row_id: row._replace(row_hash="" if row.row_hash in NOT_OURS else row.row_hash) for row_id, row in model.items()
    }
    assert dict(known.items()) == model
    assert list(known) == list(model)
    assert known.count_living() == sum(not row.deleted for row in model.values())
    met = [row_id for number, row_id in enumerate(model) if number in seen]
    known.see(met)
    living = [row_id for row_id, row in model.items() if not row.deleted and row_id not in met]
    assert known.unseen() == living
    assert [row_id for row_id in (*model, "a stranger") if known.is_unseen(row_id)] == living


def test_a_row_that_was_met_stays_met_when_it_changes() -> None:
    known = KnownRows([("a", KnownRow("0" * 16)), ("b", KnownRow("0" * 16))])
    known.see(["a"])
    known["a"] = KnownRow("f" * 16)
    known.add(["b", "c"], ["f" * 16, ""], [None, None])
    assert known.unseen() == ["b", "c"]
    assert known["a"].row_hash == known["b"].row_hash == "f" * 16
    assert known["c"] == KnownRow("")
