"""Every switch of the sandbox: complete data, or a named error with the right exit code; never less in silence."""

from __future__ import annotations

import os
import random
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from orgx_source.sandbox import FAULT_KINDS, Fault, Sandbox, World
from tests.running import KINDS, differences, query, stored, sync

FILE = Path(__file__)
# One of each way to read: pages, a snapshot, a feed.
READ = ["tasks", "agents", "activity"]
MIXTURES = int(os.environ.get("ORGX_MIXTURES", "10"))


@dataclass(frozen=True)
class Outcome:
    """What a run against a fault must come to.

    ``said`` stands in some reason or error of the report; ``complete`` means all rows, value for value.
    """

    exit_code: int = 0
    complete: bool = True
    said: str = ""
    status: str = "ok"


FINE = Outcome()
VALUES = {
    "clamp": 7, "closed": 403, "status": 503, "status_html": 502, "rate_limited": 2, "rate_limited_date": 2,
    "rate_limited_reset": 2, "slow": 0.02, "type_change": "title", "redirect": "http://127.0.0.1:9",
    "date_off": -5400,
}  # fmt: skip
LASTING = {
    "no_total": Outcome(said="no total to compare with"),
    "no_has_more": FINE,
    "no_echo": FINE,
    "ignore_order": FINE,
    "ignore_offset": Outcome(1, complete=False, said="offset is ignored", status="failed"),
    "ignore_workspace": FINE,
    "ignore_since": FINE,
    "ignore_fields": FINE,
    "ignore_ids": FINE,
    "closed": Outcome(1, complete=False, said="not permitted", status="failed"),
    "rate_limited": Outcome(4, complete=False, said="429", status="incomplete"),
    "rate_limited_date": Outcome(4, complete=False, said="429", status="incomplete"),
    "rate_limited_reset": Outcome(4, complete=False, said="429", status="incomplete"),
    "status": Outcome(1, complete=False, said="503", status="failed"),
    "status_html": Outcome(1, complete=False, said="The gateway failed temporarily", status="failed"),
    "html": Outcome(1, complete=False, said="not JSON", status="failed"),
    "truncated": Outcome(1, complete=False, said="not JSON", status="failed"),
    "reset": Outcome(4, complete=False, said="closed the connection", status="incomplete"),
    "cut_body": Outcome(4, complete=False, said="closed the connection", status="incomplete"),
    "slow": FINE,
    "duplicate_row": FINE,
    "missing_id": Outcome(4, complete=False, said="rows without an id", status="incomplete"),
    "wrong_envelope": Outcome(1, complete=False, said="no workspace with an id", status="failed"),
    "not_ok": Outcome(1, complete=False, said="ok: false", status="failed"),
    "redirect": Outcome(3, complete=False, said="another origin", status="failed"),
    "has_more_forever": FINE,
    "page_total": Outcome(said="its total is unreliable"),
    "last_page": Outcome(said="its total is unreliable"),
    "oversize": FINE,
    "empty": Outcome(4, complete=False, said="0 were received", status="incomplete"),
    "no_date": FINE,
    "date_off": FINE,
    "unknown_fields": Outcome(complete=False),
    "type_change": Outcome(complete=False),
    "strange_text": Outcome(complete=False),
    "big_numbers": Outcome(complete=False),
}
# These move or hide rows, and have tests of their own; clamp cuts the feed, which is said aloud.
WITH_OWN_TESTS = {"clamp", "drift", "hidden", "refuse", "wrong_total", "stale", "stale_total"}


def test_every_switch_is_tried() -> None:
    others = FAULT_KINDS.keys() - LASTING.keys() - WITH_OWN_TESTS
    elsewhere = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py") if path != FILE)
    # Those of the login, of MCP and of memory.
    assert [kind for kind in sorted(others) if not re.search(rf"\b{kind}\b", elsewhere)] == []
    assert LASTING.keys() | WITH_OWN_TESTS <= FAULT_KINDS.keys()


@pytest.mark.parametrize("kind", sorted(LASTING))
def test_a_lasting_fault_costs_no_row_or_says_so(kind: str) -> None:
    wanted = LASTING[kind]
    with Sandbox(World("small"), faults=[Fault(kind, VALUES.get(kind))]) as box:
        report = sync(box, READ, max_wait=60)
        said = " ".join([report.error or "", *(f"{t.error} {t.reasons}" for t in report.tables.values())])
        assert (report.exit_code, report.status) == (wanted.exit_code, wanted.status), said
        assert wanted.said in said
        if wanted.complete:
            assert differences(box.world, tables=READ) == []
        elif wanted.exit_code == 0:
            for table in READ:
                assert stored(table).keys() == {row["id"] for row in box.world.rows(KINDS[table])}


@pytest.mark.parametrize(
    "kind",
    [
        "rate_limited", "rate_limited_date", "rate_limited_reset", "status", "status_html", "html", "truncated",
        "reset", "cut_body", "wrong_envelope", "not_ok",
    ],
)  # fmt: skip
def test_a_fault_that_passes_is_outlasted(kind: str) -> None:
    passing = Fault(kind, VALUES.get(kind), path="/api/entities", times=4, after=2)
    with Sandbox(World("small"), faults=[passing]) as box:
        report = sync(box, ["initiatives", "tasks"])
        assert report.status == "ok"
        assert report.retries == 4
        assert differences(box.world, tables=["initiatives", "tasks"]) == []


def test_a_clamped_limit_loses_no_row_but_the_feeds_older_events_which_is_said() -> None:
    with Sandbox(World("small"), faults=[Fault("clamp", 7)]) as box:
        report = sync(box, READ)
        assert report.status == "ok"
        assert differences(box.world, tables=["tasks", "agents"]) == []
        assert report.tables["activity"].verdict == "uncertified"
        assert "newest 7 of" in report.tables["activity"].reasons[0]


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_move_appear_and_vanish_between_pages_are_not_lost(seed: int) -> None:
    rng = random.Random(seed)

    def churn(world: World, number: int) -> None:
        ids = list(world.find("task"))
        for task_id in rng.sample(ids, 3):
            world.edit("task", task_id, title=f"moved {number}")
        world.delete("task", rng.choice(ids))
        copied = world.get("task", ids[0]) or {}
        world.insert("task", **{**copied, "id": f"new-{number}", "title": "new"})

    with Sandbox(World("small"), faults=[Fault.drift(churn, entity="task", times=25)]) as box:
        before = set(box.world.find("task"))
        report = sync(box, tables=["tasks"], workers=1)
        throughout = before & set(box.world.find("task"))
        found = stored("tasks", where="deleted_at is null")
        if report.tables["tasks"].verdict == "uncertified":
            assert report.exit_code in (0, 4)
        else:
            assert throughout <= found.keys()
        box.heal()
        # The next run mends whatever the moving list left behind.
        assert sync(box, tables=["tasks"]).status == "ok"
        assert differences(box.world, tables=["tasks"]) == []


@pytest.mark.parametrize("seed", range(MIXTURES))
def test_mixtures_of_faults_cost_no_row_or_say_so(seed: int) -> None:
    rng = random.Random(seed)
    lasting = rng.sample(
        ["no_total", "no_has_more", "no_echo", "ignore_order", "duplicate_row", "page_total", "last_page"], 2
    )
    passing = rng.sample(["rate_limited", "status", "html", "truncated", "reset", "cut_body", "not_ok"], 3)
    faults = [Fault(kind, VALUES.get(kind)) for kind in lasting]
    faults += [Fault(kind, VALUES.get(kind), times=1, after=rng.randrange(1, 14)) for kind in passing]
    faults.append(Fault("clamp", rng.choice([11, 50, 90]), path="/api/entities"))
    with Sandbox(World("small"), faults=faults) as box:
        report = sync(box, READ)
        assert report.exit_code in (0, 1, 4)
        if report.exit_code == 0:
            assert differences(box.world, tables=READ) == []
        else:
            assert report.error or any(table.error or table.reasons for table in report.tables.values())
        box.heal()
        box.world.advance(hours=3)
        assert sync(box, READ).status == "ok"
        assert differences(box.world, tables=READ) == []


def test_rows_without_an_id_are_missed_also_where_nothing_counts_rows() -> None:
    with Sandbox(World("small"), faults=[Fault("missing_id", entity="task"), Fault("no_total", entity="task")]) as box:
        report = sync(box, tables=["tasks"])
        assert (report.exit_code, report.status) == (4, "incomplete"), report.to_json()
        assert report.tables["tasks"].rows_without_id > 0


def test_unknown_fields_become_columns() -> None:
    with Sandbox(World("small"), faults=[Fault("unknown_fields")]) as box:
        assert sync(box, tables=["initiatives"]).status == "ok"
        assert query("select count(future_field), count(future_flag) from orgx.initiatives") == [(12, 12)]
        types = dict(
            query("select column_name, data_type from information_schema.columns where table_name = 'initiatives'")
        )
        assert (types["future_field"], types["future_nested"], types["future_flag"]) == ("DOUBLE", "JSON", "BOOLEAN")


def test_a_value_that_does_not_fit_is_kept_beside_the_column() -> None:
    with Sandbox(World("small"), faults=[Fault("type_change", "progress_pct", entity="initiative")]) as box:
        assert sync(box, tables=["initiatives"]).status == "ok"
        # Every third row of a page: the first of the list, and four of the page that confirms its end.
        assert query("select count(*) from orgx.initiatives where progress_pct__v_text is not null") == [(5,)]
        assert query("select count(*) from orgx.initiatives where progress_pct is not null") == [(7,)]


def test_strange_text_and_numbers_are_loaded_or_made_safe() -> None:
    with Sandbox(World("small"), faults=[Fault("strange_text"), Fault("big_numbers")]) as box:
        assert sync(box, tables=["milestones"]).status == "ok"
        rows = list(stored("milestones").values())
        assert len(rows) == box.world.count("milestone")
        assert rows[0]["summary"] == "nul \ufffd, half \ufffd, whole \U0001f680, \u202e end"
        assert rows[0]["sequence__v_text"] == str(2**65)
        assert rows[0]["progress_pct__v_text"] == "Infinity"
        assert '"rate":"NaN"' in rows[0]["metadata"]
        assert str(2**70)[:-3] in rows[0]["metadata"]
        assert rows[0]["metadata"].count('"n"') == 200
