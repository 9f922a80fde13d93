"""What OrgX sends is what table and history hold, on both databases, for every kind of value."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime
from typing import Any

import pytest

from orgx_source.sandbox import Sandbox, World
from tests.running import execute, query, stored, sync

pytestmark = pytest.mark.usefixtures("each_warehouse")

TEXTS = [
    "", " ", "  a  ", "NULL", "null", "None", "\\N", "\\.", "\\", "a\\", "\\\\", "\\n", '"', '""', "'", "''", '"a","b"',
    "\n", "\r\n", "\r", "a\nb\n", "\t", ",", ";", "|", "%s", "{x}", "$1", "E'\\x00'", "true", "1", "{}", "[]",
    "\x1e\x1f\x01\x7f", "Größe \u202e \U0001f680", "\u2028", "\ufeff", "e\u0301", "x" * 100_000,
]  # fmt: skip
DOUBLES = [
    0.1, -0.5, 0.0, -0.0, 3.0, 1e16, 1e22, 1e-7, 123456789.12345679, 1.7976931348623157e308, -1.7976931348623157e308,
    5e-324, 2.2250738585072014e-308, 2.0**53,
]  # fmt: skip
NUMBERS = [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)]
DATES = ["0001-01-01", "1582-10-15", "1900-02-28", "1970-01-01", "2024-02-29", "9999-12-31"]
TIMES = [
    "0001-01-01T00:00:00Z", "1582-10-15T12:00:00.000001Z", "1969-12-31T23:59:59.999999Z", "2026-03-29T01:30:00.123456Z",
    "9999-12-31T23:59:59.999999Z",
]  # fmt: skip
DOCUMENTS = [
    *TEXTS[:-1], *DOUBLES, *NUMBERS, 2**70, True, False, [], {}, [None], [[]], {"": ""},
    {"b": [1, {"c": None}], "a": ""}, ["", "NULL", "\\N"], {"quo\"te": "\n"},
]  # fmt: skip


@pytest.fixture(autouse=True)
def _any_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sandbox write what only a lenient encoder writes: NaN, lone surrogates, integers beyond 64 bits."""
    monkeypatch.setattr("orgx_source.sandbox.paths.needs_plain_json", lambda hits: True)


CHANGED = {"last_changed_at", "deleted_at", "last_seen_at", "_dlt_load_id"}


def exact(value: float) -> bytes:
    return struct.pack("d", value)


def versions(table: str) -> list[dict[str, Any]]:
    """Return the rows of a table and of its history, without nulls."""
    return [row for name in (table, f"{table}_history") for row in stored(name).values()]


def sync_rows(box: Sandbox, rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Sync rows; return each with what is stored of it, in the table and in its history."""
    sent = {box.world.insert("initiative", **row)["id"]: row for row in rows}
    report = sync(box, tables=["initiatives"])
    assert (report.status, report.tables["initiatives"].verdict) == ("ok", "certified"), report.to_json()
    found = [(sent[row["id"]], row) for row in versions("initiatives") if row["id"] in sent]
    assert len(found) == 2 * len(rows)
    return found


def test_every_text_arrives() -> None:
    with Sandbox(World("small")) as box:
        for sent, row in sync_rows(box, [{"description": text, "note": text} for text in TEXTS]):
            assert (row.get("description"), row.get("note")) == (sent["description"], sent["note"])


def test_every_number_date_and_time_arrives() -> None:
    doubles = [{"health_score": value, "score": value} for value in DOUBLES]
    numbers = [{"expected_tokens": value} for value in NUMBERS]
    days = [{"due_date": value} for value in DATES]
    times = [{"eta_end_at": value} for value in TIMES]
    flags = [{"flag": value} for value in (True, False)]
    with Sandbox(World("small")) as box:
        for sent, row in sync_rows(box, doubles + numbers + days + times + flags):
            ((name, value), *_) = sent.items()
            if name == "health_score":
                assert (exact(row[name]), exact(row["score"])) == (exact(value), exact(value))
            elif name == "due_date":
                assert row[name] == date.fromisoformat(value)
            elif name == "eta_end_at":
                assert row[name].astimezone(UTC) == datetime.fromisoformat(value)
            else:
                assert (type(row[name]), row[name]) == (type(value), value)
            assert not any(name.endswith("__v_text") for name in row)


def test_every_json_value_arrives() -> None:
    with Sandbox(World("small")) as box:
        for sent, row in sync_rows(box, [{"metadata": document} for document in DOCUMENTS]):
            # PostgreSQL writes 1e16 with all its zeros.
            kind = float if isinstance(sent["metadata"], float) else int
            found = json.loads(row["metadata"], parse_int=kind)
            assert (type(found), found) == (type(sent["metadata"]), sent["metadata"])


def test_what_no_database_can_hold_is_seen_to_be_lost_and_kept_where_that_can_be() -> None:
    nested: Any = 1
    for _ in range(400):
        nested = [nested]
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"description": "a\x00b"}, {"description": "a\ufffdb"}),
        ({"description": "a\ud800"}, {"description": "a\ufffd"}),
        ({"metadata": {"k\x00": "\x00", "s": "\udfff"}}, {"metadata": {"k\ufffd": "\ufffd", "s": "\ufffd"}}),
        ({"health_score": float("nan")}, {"health_score": None, "health_score__v_text": "NaN"}),
        ({"health_score": float("-inf")}, {"health_score": None, "health_score__v_text": "-Infinity"}),
        ({"metadata": float("nan")}, {"metadata": "NaN"}),
        ({"metadata": nested}, {"metadata": None, "metadata__v_text": "[" * 400 + "1" + "]" * 400}),
        ({"expected_tokens": 2**63}, {"expected_tokens": None, "expected_tokens__v_text": str(2**63)}),
        ({"due_date": "10000-01-01"}, {"due_date": None, "due_date__v_text": "10000-01-01"}),
        ({"eta_end_at": "0000-01-01T00:00:00Z"}, {"eta_end_at": None, "eta_end_at__v_text": "0000-01-01T00:00:00Z"}),
    ]
    with Sandbox(World("small")) as box:
        for sent, row in sync_rows(box, [{**given, "sequence": n} for n, (given, _) in enumerate(cases)]):
            wanted = cases[sent["sequence"]][1]
            found = {name: row.get(name) for name in wanted}
            if "metadata" in row:
                found["metadata"] = json.loads(row["metadata"])
            assert found == wanted


def test_a_row_that_is_gone_keeps_its_values(each_warehouse: str) -> None:
    with Sandbox(World("small")) as box:
        rows: list[dict[str, Any]] = [{"metadata": document} for document in DOCUMENTS]
        rows += [{"description": text, "note": text} for text in TEXTS]
        rows += [{"due_date": day, "eta_end_at": time} for day, time in zip(DATES, TIMES, strict=False)]
        rows += [{"health_score": value} for value in DOUBLES]
        sync_rows(box, rows)
        if each_warehouse == "postgres":
            name = query("select current_database()")[0][0]
            execute(f"alter database {name} set timezone = 'America/New_York'")
        before = stored("initiatives")
        for row_id in box.world.find("initiative").copy():
            box.world.delete("initiative", row_id)
        for _ in range(3):
            report = sync(box, tables=["initiatives"])
        assert report.error is None
        found, history = stored("initiatives"), query("select count(*) from orgx.initiatives_history")
        assert query("select count(*) from orgx.initiatives where deleted_at is null") == [(0,)]
        assert history == [(2 * len(found),)]
        for row_id, row in found.items():
            wanted = {name: value for name, value in before[row_id].items() if name not in CHANGED}
            assert {name: value for name, value in row.items() if name not in CHANGED} == wanted


def test_a_quiet_run_after_such_values_writes_nothing() -> None:
    with Sandbox(World("small")) as box:
        sync_rows(box, [{"description": text, "metadata": text} for text in TEXTS])
        for settings in ({}, {"full": True}):
            report = sync(box, tables=["initiatives"], **settings)
            assert (report.tables["initiatives"].rows_changed, report.tables["initiatives"].rows_new) == (0, 0)
        assert query("select count(*) from orgx.initiatives_history where deleted_at is not null") == [(0,)]
