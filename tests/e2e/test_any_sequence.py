"""Whatever happens between and during runs, the quiet run after it leaves the truth, and no run leaves a lie.

A sequence changes the organisation, breaks the server, the network and the clocks, and kills runs; after each run
no row that OrgX held throughout may be marked as deleted, and after the last one warehouse, deletions and history are
compared with everything that was ever true. `guards.py` takes the guards out one by one and shows that this notices.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import hypothesis.strategies as st
import pytest
from dlt.destinations.job_client_impl import SqlJobClientBase
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from orgx_source.reading.report import RunReport
from orgx_source.reading.session import Stretch
from orgx_source.sandbox import Fault, Sandbox, World
from orgx_source.sync import run_sync
from tests.running import execute, fast_client, pipeline, query

# `make search` tries 300; each is some five seconds of runs.
SEQUENCES = int(os.environ.get("ORGX_SEQUENCES", "4"))

# Table to kind, the column that changes, and how many rows there are.
IN_PLAY = {"tasks": ("task", "title", 24), "initiatives": ("initiative", "title", 6), "agents": ("agent", "name", 4)}
KINDS = {kind: table for table, (kind, _, _) in IN_PLAY.items()}
VALUES = ("red", "green", "blue")

FAULTS = (
    Fault("status", 500, times=2), Fault("status", 500, after=3), Fault("status", 500, entity="task", after=1),
    Fault("status_html", 502, times=1), Fault("reset", times=2), Fault("cut_body", after=2, times=2),
    Fault("truncated", times=1), Fault("rate_limited", 2, after=2, times=2), Fault("closed", 403, entity="task"),
    Fault("duplicate_row"), Fault("ignore_order"), Fault("no_total"), Fault("page_total"), Fault("clamp", 3),
    Fault("ignore_fields"), Fault("ignore_offset", entity="task"), Fault("no_has_more"), Fault("no_echo"),
)  # fmt: skip
# A server that leaves rows out cannot be seen through at once, but must not cost a row its life.
LIES = (
    Fault("hidden"), Fault("hidden", entity="task"), Fault("empty", after=2), Fault("empty", entity="initiative"),
    Fault("ignore_ids"), Fault("missing_id", entity="task"),
)  # fmt: skip

changes = st.tuples(
    st.sampled_from(["edit", "edit", "insert", "delete", "return", "tick", "silent", "late"]),
    st.sampled_from(["task", "task", "task", "initiative", "agent"]),
    st.integers(0, 99),
    st.sampled_from(VALUES),
)


class KilledError(BaseException):
    """Ends a run where nobody expects it, as SIGKILL would."""


class Organisation:
    """A small world that remembers everything that was ever true of it."""

    def __init__(self) -> None:
        self.world = World("small")
        for kind, _, count in IN_PLAY.values():
            for row_id in list(self.world.find(kind))[count:]:
                self.world.delete(kind, row_id)
        self.gone: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self.values: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.touched: set[tuple[str, str]] = set()
        self.hidden_changes = False
        for kind in KINDS:
            for row in self.world.rows(kind):
                self._note(kind, row)

    def value(self, kind: str, row: dict[str, Any]) -> str:
        return str(row[IN_PLAY[KINDS[kind]][1]])

    def _note(self, kind: str, row: dict[str, Any]) -> None:
        self.values[kind, row["id"]].add(self.value(kind, row))
        self.touched.add((kind, row["id"]))

    def change(self, what: str, kind: str, number: int, value: str) -> None:
        world = self.world
        with world.lock:
            ids = list(world.find(kind))
            column = IN_PLAY[KINDS[kind]][1]
            if what == "tick":
                world.now += timedelta(minutes=number)
            elif what == "insert" and kind != "agent":
                self._note(kind, world.insert(kind, **{column: value, "status": "todo"}))
            elif what == "return" and self.gone[kind]:
                row_id = list(self.gone[kind])[number % len(self.gone[kind])]
                row = self.gone[kind].pop(row_id)
                if kind != "agent":
                    row["updated_at"] = world.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
                self._note(kind, world.insert(kind, **row))
            elif what == "late" and ids and kind != "agent":
                # Written with a time that is past already: older than the cursor, and only a whole read finds it.
                old = world.find(kind)[ids[number % len(ids)]]
                stamps = {"created_at": old["created_at"], "updated_at": old["updated_at"]}
                self._note(kind, world.insert(kind, **{column: value, "status": "todo", **stamps}))
                self.hidden_changes = True
            elif ids and what in ("edit", "silent"):
                row_id = ids[number % len(ids)]
                self._note(kind, world.edit(kind, row_id, touch=what == "edit", **{column: value}))
                self.hidden_changes |= what == "silent" and kind != "agent"
            elif ids and what == "delete":
                row_id = ids[number % len(ids)]
                self.gone[kind][row_id] = world.get(kind, row_id) or {}
                self.touched.add((kind, row_id))
                world.delete(kind, row_id)

    def living(self, table: str) -> dict[str, str]:
        kind = IN_PLAY[table][0]
        return {row["id"]: self.value(kind, row) for row in self.world.rows(kind)}


class AnySequence(RuleBasedStateMachine):
    """The rules; one instance is one sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="sequence-", dir=Path.cwd())
        self.before = Path.cwd()
        os.chdir(self.directory.name)
        self.patched = mock.patch.dict(os.environ, DLT_DATA_DIR=str(Path(self.directory.name) / "dlt"))
        self.patched.start()
        self.organisation = Organisation()
        self.box = Sandbox(self.organisation.world).start()
        self.skew = timedelta(0)
        self.marked: dict[str, set[str]] = {table: set() for table in IN_PLAY}
        # Per row, what each quiet run that succeeded must have seen, in order; None is its absence.
        self.seen: dict[tuple[str, str], list[str | None]] = defaultdict(list)

    @initialize(first=st.booleans())
    def begin(self, first: bool) -> None:
        execute("drop schema if exists orgx cascade")
        if first:
            self.run_and_check()

    @rule(steps=st.lists(changes, min_size=1, max_size=6))
    def change(self, steps: list[tuple[str, str, int, str]]) -> None:
        for step in steps:
            self.organisation.change(*step)

    @rule(hours=st.sampled_from([0.2, 3, 26, 200]))
    def let_time_pass(self, hours: float) -> None:
        self.organisation.world.now += timedelta(hours=hours)

    @rule(minutes=st.sampled_from([0, -90, -1, 1, 90]))
    def set_the_clock(self, minutes: int) -> None:
        self.skew = timedelta(minutes=minutes)

    @rule()
    def run_quietly(self) -> None:
        self.run_and_check()

    @rule(
        during=st.dictionaries(st.integers(1, 12), st.lists(changes, min_size=1, max_size=3), max_size=3),
        fault=st.sampled_from([None, None, *FAULTS, *LIES]),
        tables=st.sampled_from([None, None, ["tasks"], ["initiatives", "agents"]]),
        full=st.booleans(),
        requests=st.sampled_from([None, None, 2, 5, 9]),
        pages=st.sampled_from([None, 2]),
        end=st.sampled_from([None, None, None, "request", "before load", "after load", "load fails"]),
        moment=st.integers(1, 10),
        new_machine=st.booleans(),
    )
    def run_badly(
        self,
        during: dict[int, list[tuple[str, str, int, str]]],
        fault: Fault | None,
        tables: list[str] | None,
        full: bool,
        requests: int | None,
        pages: int | None,
        end: str | None,
        moment: int,
        new_machine: bool,
    ) -> None:
        def happen(world: World, number: int) -> None:
            for step in during.get(number, ()):
                self.organisation.change(*step)

        self.box.inject(Fault.drift(happen), *([fault] if fault else []))
        options = {"full": full, "max_requests": requests}
        with self.interrupted(end, moment):
            try:
                self.run_and_check(tables, pages, honest=not during and fault not in LIES, **options)
            except KilledError:
                self.no_living_row_was_marked()
        self.box.heal()
        if new_machine:
            shutil.rmtree("dlt", ignore_errors=True)

    @contextmanager
    def interrupted(self, end: str | None, moment: int) -> Iterator[None]:
        """Let the world end: at a request, before a load is marked as complete, or after."""
        complete, left = SqlJobClientBase.complete_load, [moment // 4]

        def complete_load(client: Any, load_id: str) -> None:
            left[0] -= 1
            if left[0] >= 0:
                complete(client, load_id)
            elif end == "load fails":
                raise duckdb.IOException("the network is gone")
            else:
                if end == "after load":
                    complete(client, load_id)
                raise KilledError

        with ExitStack() as stack:
            self.fatal_request = moment if end == "request" else None
            if end not in (None, "request"):
                stack.enter_context(mock.patch.object(SqlJobClientBase, "complete_load", complete_load))
            yield
        self.fatal_request = None

    fatal_request: int | None = None

    def run_and_check(
        self, tables: list[str] | None = None, pages: int | None = None, honest: bool = True, **options: Any
    ) -> RunReport:
        client = fast_client(self.box, page_size=5, workers=2, **options)
        fetch, count, fatal = client.fetch_page, [0], self.fatal_request

        def fetch_page(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if fatal is not None and count[0] >= fatal:
                raise KilledError
            return fetch(*args, **kwargs)

        names = tables or list(IN_PLAY)
        self.organisation.touched.clear()
        lived = {table: set(self.organisation.living(table)) for table in IN_PLAY}
        self.lived = lived
        with mock.patch.object(client, "fetch_page", fetch_page):
            report = run_sync(
                client.config,
                pipeline(),
                tables=names,
                client=client,
                stretch=Stretch(pages=pages) if pages else Stretch(),
                clock=lambda: self.organisation.world.now + self.skew,
            )
        note(json.dumps(report.to_json(), default=str))
        self.no_living_row_was_marked()
        for name in names:
            table = report.tables.get(name)
            if report.error or table is None or table.error or table.exit_code or not honest:
                continue
            if self.organisation.hidden_changes and not table.whole:
                continue
            if table.verdict == "uncertified":
                continue
            living = self.organisation.living(name)
            assert self.stored(name) == living, (name, table)
            for row_id in {*living, *(key[1] for key in self.seen if key[0] == name)}:
                states = self.seen[name, row_id]
                state = living.get(row_id)
                if state != (states[-1] if states else None):
                    states.append(state)
        return report

    def stored(self, table: str) -> dict[str, str]:
        column = IN_PLAY[table][1]
        found = query(f"select id, {column} from orgx.{table} where deleted_at is null")
        assert len(dict(found)) == len(found)
        return dict(found)

    def no_living_row_was_marked(self) -> None:
        held = {row[0] for row in query("select table_name from information_schema.tables where table_schema = 'orgx'")}
        for table, (kind, _, _) in IN_PLAY.items():
            if table not in held:
                continue
            marked = {row[0] for row in query(f"select id from orgx.{table} where deleted_at is not null")}
            living = {
                row_id
                for row_id in self.lived[table] & set(self.organisation.living(table))
                if (kind, row_id) not in self.organisation.touched
            }
            wrong = (marked - self.marked[table]) & living
            assert not wrong, f"{table}: marked as deleted though OrgX held them throughout: {wrong}"
            self.marked[table] = marked

    def teardown(self) -> None:
        try:
            self.box.heal()
            self.organisation.world.now += timedelta(hours=1)
            full = self.organisation.hidden_changes
            report = self.run_and_check(full=full)
            if report.exit_code == 4:
                # So much vanished at once that one read alone is not believed.
                report = self.run_and_check(full=full)
            if any(table.resumed and table.verdict == "uncertified" for table in report.tables.values()):
                # More rows of one time than a page holds, read in two runs: one in one piece proves them.
                report = self.run_and_check(full=True)
            assert report.status == "ok", report.to_json()
            assert {table.verdict for table in report.tables.values()} <= {"certified", "repaired"}, report.to_json()
            for table in IN_PLAY:
                self.warehouse_is_the_world(table)
                self.history_is_what_was_seen(table)
        finally:
            self.box.stop()
            self.patched.stop()
            os.chdir(self.before)
            self.directory.cleanup()

    def warehouse_is_the_world(self, table: str) -> None:
        assert self.stored(table) == self.organisation.living(table)

    def history_is_what_was_seen(self, table: str) -> None:
        kind, column, _ = IN_PLAY[table]
        rows = query(f"select id, {column}, deleted_at is null from orgx.{table}_history order by valid_from")
        history: dict[str, list[str | None]] = defaultdict(list)
        for row_id, value, lives in rows:
            history[row_id].append(value if lives else None)
            assert value in self.organisation.values[kind, row_id], (table, row_id, value)
        hashes = query(f"select id, _row_hash, deleted_at is null from orgx.{table}_history order by valid_from")
        latest: dict[str, tuple[Any, ...]] = {}
        for row_id, *version in hashes:
            assert latest.get(row_id) != tuple(version), f"{table}: {row_id} has one version twice in a row"
            latest[row_id] = tuple(version)
        living = self.organisation.living(table)
        for row_id, states in history.items():
            assert states[-1] == living.get(row_id), (table, row_id, states)
        for (name, row_id), states in self.seen.items():
            if name == table:
                remaining = iter(history[row_id])
                assert all(state in remaining for state in states), (table, row_id, states, history[row_id])


@pytest.mark.usefixtures("each_warehouse")
def test_any_sequence_ends_in_the_truth() -> None:
    run_state_machine_as_test(
        AnySequence,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=6,
            deadline=None,
            derandomize="CI" in os.environ,
            # Making a sequence smaller means hundreds of them again; six steps are short enough to read.
            phases=[Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
