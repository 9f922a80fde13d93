"""Whatever OrgX calls a field and puts into it: no row is lost, and every value is stored or kept beside its column."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orgx_source.sandbox import Sandbox, World
from orgx_source.tables import MISFIT_SUFFIX, TABLES, column_name
from tests.running import execute, stored, sync

ROWS, FIELDS, NIGHTS = 42, 6, 2
# Fields for each database: about a thousand in all in a short run, fifty thousand in a search.
COUNT = max(500, int(os.environ.get("ORGX_EXAMPLES", "400")) * 5 // 2)
TAKEN = {key for column in TABLES["initiatives"].columns for key in (column.name, *column.keys)} | {"sequence"}

SQL_NAMES = [
    "select", "order", "table", "user", "default", "group", "null", "true", "all", "index", "rowid", "oid", "ctid",
    "xmin", "xmax", "cmin", "cmax", "tableoid", "_dlt_load_id", "_dlt_id", "_row_hash", "valid_from", "valid_to",
    "is_current", "last_seen_at", "last_changed_at", "d", "s", "x", "kept", "n", "v", "unnamed", "__v_text",
]  # fmt: skip
ALIKE = ["a b", "a_b", "a-b", "aB", "AB", "a__b", "_a_b_", "a.b", "a\x00b", "a\ufffdb", "é", "e\u0301", "É", "1", "_1"]
KEYS = st.one_of(
    st.sampled_from(SQL_NAMES),
    st.sampled_from(ALIKE),
    st.sampled_from(["", " ", '"', "'", "''", '"; drop table x; --', "%s", "%", "{x}", "\\", "\n", "\x7f", "a" * 999]),
    st.text(max_size=6),
    st.text("#$!?*+/()[]", min_size=1, max_size=4),
    st.text("aB_1 -", min_size=1, max_size=5),
    st.builds(lambda letters, count: letters * count, st.text(min_size=1, max_size=3), st.integers(10, 40)),
).filter(lambda key: column_name(key) not in TAKEN and key not in TAKEN)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.text(max_size=8),
    st.text("\x00\ud800\udfff\ufffd\\\"',\n\r{}", max_size=4),
    st.sampled_from([[], {}, "", "NaN", "nan", "inf", "-Infinity", "null", "1", "true", "[1]", '{"a": 1}', "x" * 999]),
    st.sampled_from(["0001-01-01", "9999-12-31T23:59:59.999999Z", "10000-01-01", "2026-02-30", "2026-03-29T02:30:00"]),
)
VALUES = st.one_of(
    LEAVES,
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)),
    st.builds(lambda depth: json.loads("[" * depth + "]" * depth), st.sampled_from([100, 254, 255, 256])),
)
# Columns that are declared, each of another type.
TYPED = ["description", "health_score", "expected_tokens", "due_date", "eta_end_at", "metadata"]


ROW = st.dictionaries(st.sampled_from(TYPED) | KEYS, VALUES, min_size=FIELDS, max_size=FIELDS)


def drawn(count: int) -> list[dict[str, Any]]:
    """Return the fields of some rows; one name comes with values of many types."""
    rows: list[dict[str, Any]] = []

    @settings(
        max_examples=count,
        derandomize="CI" in os.environ,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(ROW)
    def draw(row: dict[str, Any]) -> None:
        rows.append(row)

    draw()
    return rows


@pytest.fixture(autouse=True)
def _any_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sandbox write what only a lenient encoder writes: NaN, lone surrogates, integers beyond 64 bits."""
    monkeypatch.setattr("orgx_source.sandbox.paths.needs_plain_json", lambda hits: True)


def told(value: Any) -> Any:
    """Return a value as the README says that it is read: no database takes NUL, half a character, or NaN in JSON."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\x00", "\ufffd")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return list(map(told, value))
    if isinstance(value, dict):
        names = names_of(value)
        return {names[key]: told(inner) for key, inner in value.items()}
    return value


def names_of(fields: dict[str, Any]) -> dict[str, str]:
    """Return each key as it is read: of two that become one, the second gets another mark."""
    names: dict[str, str] = {}
    for key in sorted(fields, key=lambda key: (told(key) != key, key)):
        name = told(key)
        while name in names.values():
            name += "\ufffd"
        names[key] = name
    return names


def same(sent: Any, found: Any) -> bool:
    """Return whether two JSON values are equal, where 1 and 1.0 are and 1 and true are not."""
    if isinstance(sent, dict) and isinstance(found, dict):
        return sent.keys() == found.keys() and all(same(sent[key], found[key]) for key in sent)
    if isinstance(sent, list) and isinstance(found, list):
        return len(sent) == len(found) and all(map(same, sent, found))
    if isinstance(sent, float) and type(found) is int:
        # PostgreSQL writes 1e16 with all its zeros.
        found = float(found)
    return isinstance(sent, bool) == isinstance(found, bool) and bool(sent == found)


def readings(found: Any) -> Iterator[Any]:
    """Yield what a stored value may stand for: itself, JSON, or several values that share a column."""
    yield found
    if not isinstance(found, str):
        if isinstance(found, list):
            for inner in found:
                yield from readings(inner)
        return
    try:
        parsed = json.loads(found)
    except (ValueError, RecursionError):
        return
    if not isinstance(parsed, str) or parsed != found:
        yield from readings(parsed)


def losses(row: dict[str, Any], fields: dict[str, Any]) -> list[str]:
    """Return which values of a row are stored nowhere, and what is in their columns instead."""
    return [
        f"{key[:80]!r}: {value!r} became {columns_of(row, key)}"
        for key, value in zip(names_of(fields).values(), map(fields.get, names_of(fields)), strict=True)
        if value is not None and not is_kept(row, key, value)
    ]


def columns_of(row: dict[str, Any], key: str) -> dict[str, Any]:
    name = key if key in TYPED else column_name(key)
    return {column: row[column] for column in (name, name + MISFIT_SUFFIX) if column in row}


def is_kept(row: dict[str, Any], key: str, value: Any) -> bool:
    return any(
        is_moment(value, found) or any(same(told(value), reading) for reading in readings(found))
        for found in columns_of(row, key).values()
    )


def is_moment(value: Any, found: Any) -> bool:
    """Return whether a date or time was sent as this text; without a zone it is UTC."""
    if not isinstance(found, date):
        return False
    moment = datetime.fromisoformat(value)
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    return found == (moment if isinstance(found, datetime) else moment.date())


def test_any_field_of_any_name_is_kept(each_warehouse: str) -> None:
    rows = drawn(COUNT // FIELDS)
    assert len(rows) >= COUNT // FIELDS // 2
    for start in range(0, len(rows), ROWS * NIGHTS):
        begin_anew(each_warehouse)
        nights = [rows[start + ROWS * night :][:ROWS] for night in range(NIGHTS)]
        load_and_compare([night for night in nights if night])


def load_and_compare(nights: list[list[dict[str, Any]]]) -> None:
    """Load the fields of each night, which the one before is changed by, and look for each of them."""
    world = World("small")
    for row_id in list(world.find("initiative")):
        world.delete("initiative", row_id)
    sent: dict[tuple[str, int], dict[str, Any]] = {}
    with Sandbox(world) as box:
        ids = [world.insert("initiative")["id"] for _ in nights[0]]
        for night, rows in enumerate(nights):
            for row_id, fields in zip(ids, rows, strict=False):
                world.edit("initiative", row_id, **fields, sequence=night)
                sent[row_id, night] = sent.get((row_id, night - 1), {}) | fields
            report = sync(box, ["initiatives"])
            assert (report.exit_code, report.tables["initiatives"].verdict) == (0, "certified"), report.to_json()
        for night in range(len(nights)):
            found = stored("initiatives_history", where=f"sequence = {night}")
            wanted = {row_id: fields for (row_id, when), fields in sent.items() if when == night}
            assert found.keys() == wanted.keys()
            assert [lost for row_id in wanted for lost in losses(found[row_id], wanted[row_id])] == []
        assert stored("initiatives", where="deleted_at is null").keys() == set(ids)
        quiet = sync(box, ["initiatives"], full=True).tables["initiatives"]
        assert (quiet.rows_new, quiet.rows_changed) == (0, 0)


def begin_anew(warehouse: str) -> None:
    """Take away what the batch before has left."""
    shutil.rmtree("dlt", ignore_errors=True)
    if warehouse == "postgres":
        execute("drop schema if exists orgx cascade", "drop schema if exists orgx_staging cascade")
    else:
        for file in Path.cwd().glob("x.duckdb*"):
            file.unlink()
