"""Rows become columns and nothing is dropped: families, misfits, unknown fields, hashes."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from typing import Any

import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention
from hypothesis import given
from hypothesis import strategies as st

from orgx_source.api.route_reader import row_keys
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.rows.shape import Shaper, build_array, canonical_json, recanonical, row_hashes, same_json
from orgx_source.tables import MAX_NAME, RESERVED, TABLES, ColumnType, column_name


def shaper_of(table: str) -> Shaper:
    return Shaper(TABLES[table], ColumnTypes(TABLES[table]))


def shape(table: str, *rows: dict[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = shaper_of(table).shape([{"id": "x", **row} for row in rows]).to_pydict()
    return found


def test_both_casings_and_all_aliases_land_in_one_column() -> None:
    found = shape("initiatives", {"updatedAt": "2026-04-11T16:40:31.552Z"}, {"updated_at": "2026-04-11T16:40:31.552Z"})
    assert found["updated_at"] == [datetime(2026, 4, 11, 16, 40, 31, 552000, tzinfo=UTC)] * 2
    assert shape("initiatives", {"progress": 4}, {"progress_pct": 5})["progress_pct"] == [4.0, 5.0]
    assert shape("agents", {"currentTask": "a"}, {"current_task": "b"})["current_task"] == ["a", "b"]


def test_the_first_that_is_not_null_wins_and_the_other_is_kept() -> None:
    found = shape(
        "initiatives", {"title": None, "name": "n"}, {"title": "t", "name": "other"}, {"title": "t", "name": "t"}
    )
    assert found["title"] == ["n", "t", "t"]
    assert found["title__v_text"] == [None, "other", None]


def test_a_value_that_does_not_fit_stands_beside_its_column() -> None:
    found = shape("tasks", {"sequence": 3}, {"sequence": "three"}, {"sequence": 2**70}, {"sequence": {"a": 1}})
    assert found["sequence"] == [3, None, None, None]
    assert found["sequence__v_text"] == [None, "three", str(2**70), '{"a":1}']


def test_times_of_every_spelling_are_read_and_none_is_lost() -> None:
    found = shape(
        "tasks",
        {"created_at": "2026-04-11T16:40:31Z"},
        {"created_at": "2026-04-11T18:40:31.123456+02:00"},
        {"created_at": "2026-04-11 16:40:31"},
        {"created_at": "soon"},
        {"created_at": "2026-04-11T16:40:31.123456789Z"},
        {"created_at": 1775925631},
    )
    at = datetime(2026, 4, 11, 16, 40, 31, tzinfo=UTC)
    assert found["created_at"][:3] == [at, at.replace(microsecond=123456), at]
    assert found["created_at"][3] is None
    assert found["created_at__v_text"][3:5] == ["soon", "2026-04-11T16:40:31.123456789Z"]


def test_a_timestamp_where_a_date_belongs_gives_its_day_and_is_kept() -> None:
    found = shape(
        "tasks", {"due_date": "2026-05-15"}, {"due_date": "2026-05-15T22:00:00.000Z"}, {"due_date": "2026-13-45"}
    )
    assert found["due_date"] == [date(2026, 5, 15), date(2026, 5, 15), None]
    assert found["due_date__v_text"] == [None, "2026-05-15T22:00:00.000Z", "2026-13-45"]


def test_fields_that_nobody_declared_become_columns_and_keep_their_type() -> None:
    shaper = shaper_of("tasks")
    first = shaper.shape([{"id": "x", "riskScore": 1, "new flag?": True, "nest": {"b": 1, "a": 2}}]).to_pydict()
    assert (first["risk_score"], first["new_flag"], first["nest"]) == ([1], [True], ['{"a":2,"b":1}'])
    later = shaper.shape([{"id": "y", "riskScore": "high"}]).to_pydict()
    assert (later["risk_score"], later["risk_score__v_text"]) == ([None], ["high"])


@pytest.mark.parametrize(
    ("first", "later", "column", "beside"),
    [
        ([1, 0, 1], 0.5, 0.5, None),
        ([0.5], 2, 2.0, None),
        ([1], 2**53, float(2**53), None),
        ([1], 2**53 + 1, None, str(2**53 + 1)),
        ([1], 2**70, None, str(2**70)),
        ([1], True, None, "true"),
        ([True], 0.5, None, "0.5"),
        ([True], 1, None, "1"),
        (["a"], 0.5, "0.5", None),
        ([None], 0.5, 0.5, None),
    ],
)
def test_the_first_values_of_an_undeclared_column_cost_later_ones_nothing(
    first: list[Any], later: Any, column: Any, beside: str | None
) -> None:
    shaper = shaper_of("tasks")
    shaper.shape([{"id": str(index), "score": value} for index, value in enumerate(first)])
    found = shaper.shape([{"id": "x", "score": later}]).to_pydict()
    assert (found["score"], found.get("score__v_text", [None])) == ([column], [beside])


def test_a_column_of_whole_numbers_that_is_stored_already_keeps_its_type() -> None:
    shaper = Shaper(TABLES["tasks"], ColumnTypes(TABLES["tasks"], {"score": {"data_type": "bigint"}}))
    found = shaper.shape([{"id": "x", "score": 2**60}, {"id": "y", "score": 0.5}]).to_pydict()
    assert (found["score"], found["score__v_text"]) == ([2**60, None], [None, "0.5"])


def test_a_field_cannot_take_the_name_of_a_tracking_column() -> None:
    for name in RESERVED:
        found = shape("tasks", {name: "theirs"})
        assert ["theirs"] in found.values()
        assert name not in found


def test_numbers_that_a_column_cannot_hold_exactly_are_not_rounded() -> None:
    found = shape("tasks", {"expected_tokens": 5.0}, {"expected_tokens": 5.5}, {"expected_tokens": True})
    assert found["expected_tokens"] == [5, None, None]
    assert found["expected_tokens__v_text"] == [None, "5.5", "true"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


keys = st.sampled_from(["title", "sequence", "metadata", "due_date", "created_at", "odd"])


@given(st.lists(st.dictionaries(keys, values)))
def test_whatever_comes_is_loaded_and_every_value_is_somewhere(rows: list[dict[str, Any]]) -> None:
    given_rows = [{"id": str(index), **row} for index, row in enumerate(rows)]
    if not given_rows:
        return
    found = shaper_of("tasks").shape(given_rows).to_pylist()
    for row, stored in zip(given_rows, found, strict=True):
        for key, value in row.items():
            if value is not None:
                assert stored.get(key) is not None or stored.get(f"{key}__v_text") is not None


@given(st.dictionaries(st.text(max_size=4), values, max_size=5))
def test_canonical_json_says_the_same_and_knows_no_order(document: dict[str, Any]) -> None:
    text = canonical_json(document)
    assert json.loads(text) == document
    assert canonical_json(dict(reversed(document.items()))) == text


def test_equal_rows_have_equal_hashes_and_null_is_absent() -> None:
    def hashed(**row: Any) -> str:
        return row_hashes(shaper_of("decisions").shape([{"id": "x", **row}]), ["waiting_minutes"])[0]

    assert hashed(title="a", summary=None) == hashed(title="a")
    assert hashed(metadata={"a": 1, "b": 2}) == hashed(metadata={"b": 2, "a": 1})
    assert hashed(title="a", waiting_minutes=1) == hashed(title="a", waiting_minutes=99)
    assert hashed(title="a") != hashed(title="b")
    assert hashed(title="a", summary="b") != hashed(title="b", summary="a")
    assert hashed(title="a\x1esummary\x1fb") != hashed(title="a", summary="b")


SEPARATED = [
    {"title": "a", "summary": "b"}, {"title": "a\x1esummary\x1fb"}, {"title": "a\x1esummary\x1e62"},
    {"title": "a\x1f", "summary": "b"}, {"title": "a", "summary": "\x1fb"}, {"title": "a\x1fsummary\x1fb"},
    {"title": "a\x1e"}, {"title": "a\x1e\x1e"}, {"title": "\x1ea"}, {"title": "611e"},
    {"title": "a", "summary": "\x1e"},
    {"title": "a\x1edescription\x1fb", "summary": "c"}, {"title": "a", "description": "b", "summary": "c"},
    {"title": "a", "summary": "b\x1edescription\x1fc"}, {"summary": "b\x1etitle\x1fa"},
    {"summary": "b\x1etitle\x1e61"}, {"summary": "\x1f\x1e"}, {"summary": "b\x1etitle\x1fa\x1e"},
]  # fmt: skip


def test_no_value_hides_a_change_from_the_hash() -> None:
    rows = [{"id": "x", **row} for row in SEPARATED]
    together = row_hashes(shaper_of("decisions").shape(rows), [])
    alone = [row_hashes(shaper_of("decisions").shape([row]), [])[0] for row in rows]
    assert together == alone
    assert len(set(alone)) == len(rows)


def test_an_ordinary_row_has_the_hash_that_warehouses_hold() -> None:
    row = {
        "id": "x", "title": "Größe\x1f", "sequence": 3, "expected_duration_hours": 0.5, "due_date": "2026-05-15",
        "metadata": {"b": [1, None], "a": "\x1e"}, "created_at": "2026-04-11T16:40:31.552Z", "odd": True,
    }  # fmt: skip
    assert row_hashes(shaper_of("tasks").shape([row]), []) == ["7c85cea84216f9fc"]


def nested(levels: int, inner: Any = 1) -> Any:
    for level in range(levels):
        inner = [inner] if level % 2 else {"a": inner}
    return inner


@pytest.mark.parametrize("levels", [255, 980, 5000])
@pytest.mark.parametrize("key", ["metadata", "title", "sequence", "expected_duration_hours", "due_date", "created_at"])
def test_what_is_nested_too_deep_for_a_database_is_kept_as_text(key: str, levels: int) -> None:
    found = shape("tasks", {key: nested(levels)}, {})
    text = ""
    for level in range(levels):
        text = f"[{text or 1}]" if level % 2 else f'{{"a":{text or 1}}}'
    if key == "title":
        assert found[key] == [text, None]
    else:
        assert (found[key], found[f"{key}__v_text"]) == ([None, None], [text, None])


def test_nesting_that_databases_take_stays_json_whatever_stands_beside_it() -> None:
    found = shape("tasks", {"metadata": nested(254)}, {"metadata": 2**70}, {"metadata": nested(255, 2**70)})
    assert found["metadata"][:2] == [canonical_json(nested(254)), str(2**70)]
    assert found["metadata__v_text"] == [None, None, canonical_json(nested(255, 2**70))]
    assert found["metadata"][2] is None


def test_the_loser_of_a_family_may_be_nested_as_deep_as_it_likes() -> None:
    found = shape(
        "tasks",
        {"depends_on": nested(2000), "dependencies": nested(2000)},
        {"depends_on": nested(2000), "dependencies": nested(2000, 2)},
        {"depends_on": [], "dependencies": nested(2000, 2)},
    )
    first, both, loser = found["depends_on__v_text"]
    assert (first, loser) == (canonical_json(nested(2000)), canonical_json(nested(2000, 2)))
    assert both == canonical_json([first, loser])


@given(values)
def test_json_is_written_as_the_standard_library_writes_it(value: Any) -> None:
    expected = json.dumps([value, 2**70], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert canonical_json([value, 2**70]) == expected


@pytest.mark.parametrize("told", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_a_time_whose_year_no_driver_knows_is_kept_as_text(told: str) -> None:
    array, misfits = build_array("timestamp", [told, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", None])
    assert misfits == {0: told}
    assert [moment and moment.year for moment in array.to_pylist()] == [None, 1, 9999, None]


@pytest.mark.parametrize("kind", ["date", "timestamp"])
@pytest.mark.parametrize("told", ["0000-01-01", "0000-01-01T00:00:00Z"])
def test_a_year_0_is_kept_as_text(kind: ColumnType, told: str) -> None:
    array, misfits = build_array(kind, [told, None])
    assert (array.to_pylist(), misfits) == ([None, None], {0: told})


def test_two_spellings_of_an_undeclared_field_do_not_depend_on_the_rows_beside_them() -> None:
    both = {"id": "x", "est_hours": 2, "estHours": 3}
    neighbours: list[dict[str, Any]] = [{"id": "y", "estHours": 1}, {"id": "y", "est_hours": 1}, {"id": "y"}]
    for neighbour in neighbours:
        found = shaper_of("tasks").shape([neighbour, both]).to_pylist()[1]
        assert (found["est_hours"], found["est_hours__v_text"]) == (2, "3")


def test_a_value_that_does_not_fit_and_another_that_disagrees_are_both_kept() -> None:
    found = shape("tasks", {"expected_tokens": "many", "expectedTokens": 900})
    assert found["expected_tokens"] == [None]
    assert found["expected_tokens__v_text"] == ['["many","900"]']


def test_a_long_name_is_shortened_so_that_every_database_leaves_it_alone() -> None:
    names = {column_name("k" * 70), column_name("k" * 71), column_name("k" * 55)}
    assert len(names) == 3
    assert max(len(name + "__v_text") for name in names) == 63


LOSSY = ["状态", "статус", "статусы", "x状态", "größe", "gröse", "größer", "é" * 70, "a🚀", "a🔥", "🚀", "%", "#", ""]


def test_keys_that_no_name_can_spell_get_a_column_each() -> None:
    plain = ["status", "x", "gr_e", "unnamed", "a"]
    found = shape("tasks", {key: key for key in (*LOSSY, *plain)})
    assert {name: found[name] for name in plain} == {name: [name] for name in plain}
    names = [name for name, (value,) in found.items() if value in LOSSY]
    assert len(names) == len(LOSSY)
    assert all(re.fullmatch("[a-z0-9_]+_[0-9a-f]{8}", name) and len(name) <= MAX_NAME for name in names)
    assert not any(name.endswith("__v_text") for name in found)
    assert column_name("状态") == "unnamed_df24c853"


def test_dlt_leaves_the_names_of_columns_as_they_are() -> None:
    naming = NamingConvention(63)
    # Cut where a word ends.
    cut = ["k" * 45 + " k\u00e9" * 9, ("k" * 45 + " ") * 2]
    for name in map(column_name, [*LOSSY, *RESERVED, *cut, "fooBar", "new flag?", "1x", "k" * 70]):
        assert [naming.normalize_path(one) for one in (name, f"{name}__v_text")] == [name, f"{name}__v_text"]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("fooBar", "foo_bar"), ("foo_bar", "foo_bar"), ("foo-bar", "foo_bar"), ("new flag?", "new_flag"), ("1x", "_1x"),
        ("HTTPStatus", "http_status"), ("valid_to", "orgx_valid_to"), ("k" * 70, "k" * 46 + "_493fbd19"),
    ],
)  # fmt: skip
def test_a_key_that_can_be_spelled_keeps_its_name(key: str, name: str) -> None:
    assert column_name(key) == name


def test_the_spellings_of_one_key_beyond_ascii_share_a_column() -> None:
    spelled = ["größeNeu", "größe_neu", "größe-neu", "gro\u0308ßeNeu"]
    assert len(set(map(column_name, spelled))) == 1


@pytest.mark.parametrize("nothing", ["", False, {}, []])
def test_the_id_is_what_the_reader_takes_for_it(nothing: Any) -> None:
    rows = [{"id": nothing, "decision_id": "d1"}, {"id": "d2", "decision_id": None}]
    keys = row_keys(TABLES["decisions"])
    shaped = shaper_of("decisions").shape(rows)
    assert shaped.column("id").to_pylist() == [keys.id(row) for row in rows] == ["d1", "d2"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a":1,"b":[1e16]}', '{"b": [10000000000000000], "a": 1.0}', True),
        ("-0.0", "0", True),
        ("5e-324", f"0.{'0' * 323}5", True),
        (str(10**40 + 1), str(10**40), False),
        ("1", "true", False),
        ("1", '"1"', False),
        ('""', "null", False),
        ("no json", "no json", True),
        ("no json", '"no json"', False),
        ("[" * 5000, "[" * 5001, False),
    ],
)
def test_json_is_the_same_when_a_database_would_say_so(one: str, other: str, same: bool) -> None:
    assert same_json(one, other) is same


def test_json_that_a_database_wrote_is_written_as_ours() -> None:
    text = canonical_json({"b": [2**70, 0.1, None, "é\n"], "a": ""})
    assert recanonical(json.dumps(json.loads(text), indent=2)) == text
    assert recanonical("no json") == "no json"
    assert recanonical("[" * 5000) == "[" * 5000
