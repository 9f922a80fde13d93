"""One sequence: changes to an organisation and its warehouse, run after run, with the claims of each run verified.

The claims follow from the meaning of a verdict, not from how it is determined:

- A good verdict (certified or repaired, exit code 0) of a full read, or of a read of changes when timestamps and counts
  are correct: each row that OrgX had throughout is present once, in a version no older than the start of the run; no
  row is alive that was deleted before.
- Whatever a server sends, a row that OrgX had throughout is not marked as deleted, unless two runs did not receive it
  and requests for it did not return it; and under a good verdict no row is replaced by an older version.
- A run never raises, never reports a bug, and fails (exit code 1) only if someone must act.
- No table goes without a full read for more than a week.
- In the end, at most two full reads make table, deletions and history correct.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from orgx_source.api.client import OrgxClient
from orgx_source.api.http import HttpTransport
from orgx_source.api.limits import RateBudget, RetryPolicy
from orgx_source.config import load_config
from orgx_source.reading.doubts import are_few
from orgx_source.reading.report import RunReport, TableReport
from orgx_source.reading.session import Stretch
from orgx_source.sandbox import Fault
from orgx_source.sandbox.app import create_sandbox
from orgx_source.sync import run_sync
from orgx_source.tables import TABLES
from tests.running import FakeTime, pipeline
from tests.sequences.answers import Answers
from tests.sequences.hooks import Hooks
from tests.sequences.in_process import InProcess
from tests.sequences.organisation import FIELD, IN_PLAY, STAMPED, Change, Organisation
from tests.sequences.troubles import Honesty, KilledError, Plan, Setting, Trouble, enabled
from tests.sequences.warehouse import Copies, Holdings, Stored

GOOD = ("certified", "repaired")
KEYS = {"narrow": "oxk_narrow_00000000", "field": "oxk_field_00000000"}
WEEK_AND_A_DAY = timedelta(days=8)
END = "# The end: no further changes or faults."


class LieError(AssertionError):
    """A run made a false claim."""


class Life:
    """An organisation, its warehouse and the runs between them; it uses the working directory.

    Attributes:
        organisation: The true state.
        before: Content of the warehouse before the current run.
        steps: The steps so far, as code that can be run again.
    """

    def __init__(self) -> None:
        self.organisation = Organisation()
        self.app = create_sandbox(self.organisation.world)
        self.app.other_keys |= {
            # All agents are visible to all keys here: it is unknown whether two OrgX workspaces share them.
            KEYS["narrow"]: lambda kind, row: kind in ("workspace", "agent") or hash_of(row["id"]) % 7 == 0,
            KEYS["field"]: lambda kind, row: row.get("workspace_id") == FIELD or row["id"] == FIELD or kind == "agent",
        }
        self.before = Holdings()
        self.copies = Copies()
        self.steps: list[str] = []
        # Table to the moment of the last read that made it equal to OrgX.
        self.proven: dict[str, int] = defaultdict(int)
        # Start of the first run that did not complete, and whose data may still be loaded.
        self.since: int | None = None
        # Number of runs that did not receive a row although OrgX had it.
        self.left_out: Counter[tuple[str, str]] = Counter()
        # Number of runs that received an outdated version of a row.
        self.outdated: Counter[tuple[str, str]] = Counter()
        # Rows changed by hand, and histories that lack versions.
        self.by_hand: set[tuple[str, str]] = set()
        self.torn: set[str] = set()
        # Events that the first full read of the feed did not reach.
        self.out_of_reach: set[str] = set()
        # Per row, the states that good runs must have seen, in order; None is its absence.
        self.seen: dict[tuple[str, str], list[str | None]] = defaultdict(list)
        # Tables read from another route, which shows the same version differently: /api/v1/work has the time of
        # creation where an entity has no updated_at.
        self.detours: set[str] = set()
        # Start of the last good full read, by a correct clock.
        self.whole_at: dict[str, datetime] = {}
        self._kept: dict[str, Any] = {}

    # -- steps -----------------------------------------------------------------------------------------------------

    def change(self, *changes: Change) -> None:
        """Change OrgX."""
        self.steps.append(f"life.change({', '.join(map(repr, changes))})")
        for change in changes:
            self.organisation.change(change)

    def wait(self, hours: float) -> None:
        """Advance time."""
        self.steps.append(f"life.wait({hours})")
        self.organisation.world.now += timedelta(hours=hours)

    def run(self, *troubles: Trouble) -> RunReport | None:
        """Run once and verify its claims; None if it was killed.

        Raises:
            LieError: It made a false claim.
        """
        self.steps.append(f"life.run({', '.join(map(repr, troubles))})")
        plan = Plan()
        for trouble in troubles:
            trouble.apply(self, plan)
        closed = {fault.entity for fault in plan.faults if fault.kind == "closed"}
        self.detours |= set(plan.settings.get("routes", ()))
        self.detours |= {name for name, row in IN_PLAY.items() if row.kind in closed}
        if any(trouble.changes_warehouse for trouble in troubles):
            self.before = Holdings.read()
        start, answers = self.organisation.now, Answers()
        try:
            report = self._sync(plan, answers)
        except KilledError:
            report = None
            self.steps.append("# killed")
        after = Holdings.read()
        if report is not None:
            self.steps.append(_summary(report))
        self._judge(plan, report, start, answers, after)
        self.before = after
        return report

    def end(self) -> None:
        """Stop all changes and faults, and compare the warehouse with OrgX.

        Raises:
            LieError: It differs.
        """
        blind = any(self.organisation.blind(table, self.proven[table]) for table in IN_PLAY)
        quiet: list[Trouble] = [Setting("full", True)] if blind or self.by_hand or self.out_of_reach else []
        self.steps.append(END)
        for _ in range(2):
            self.wait(1)
            report = self.run(*quiet)
            assert report is not None
            if any(table.resumed for table in report.tables.values()):
                # It continued an interrupted read, so it was not a full read.
                self.wait(1)
                report = self.run(*quiet)
                assert report is not None
            good = all(table.verdict in GOOD for table in report.tables.values())
            if report.status == "ok" and good:
                break
        else:
            self._fail("two quiet runs do not make the warehouse correct")
        for table in IN_PLAY:
            self._equals_the_world(table, self.organisation.now, self.before, everything=True)
            if TABLES[table].keeps_history:
                self._history_is_true(table)

    # -- what happens to the warehouse -----------------------------------------------------------------------------

    def keep_copies(self) -> None:
        """Back up the warehouse and the working folder."""
        self.copies.keep()
        self._kept = {
            "proven": dict(self.proven),
            "seen": {key: list(states) for key, states in self.seen.items()},
            "since": self.since,
            "whole_at": dict(self.whole_at),
        }

    def restore(self, what: str) -> None:
        """Restore an older backup."""
        if not self.copies.exist:
            return
        if what in ("file", "both"):
            self.copies.restore_file()
            self.proven, self.whole_at = defaultdict(int, self._kept["proven"]), dict(self._kept["whole_at"])
            self.seen = defaultdict(list, {key: list(states) for key, states in self._kept["seen"].items()})
        if what in ("folder", "both"):
            self.copies.restore_folder()
        # Packages waiting in either may be loaded now.
        waiting = [moment for moment in (self.since, self._kept["since"]) if moment is not None]
        self.since = min(waiting, default=None)

    def edited_by_hand(self, what: str, table: str, ids: list[str], *, history: bool) -> None:
        """Record what an analyst did to some rows of a table or its history."""
        organisation = self.organisation
        if history:
            if what == "drop table":
                self.torn.add(table)
            return
        if what == "edit":
            self.by_hand |= {(table, row_id) for row_id in ids}
            organisation.hide(table)
        living = {row.id for row in self.before.rows[table] if not row.deleted}
        if what in ("double", "delete") and living & set(ids):
            organisation.unbalance(table, 1 if what == "delete" else -1)
        elif what in ("double", "delete"):
            # Rows that are not counted: only a query for them shows that they are missing or duplicated.
            organisation.hide(table)
        if what in ("delete", "drop table", "drop column"):
            # Their deletions are no longer known, nor is a version that was not yet in history.
            self.torn.add(table)

    # -- one run ---------------------------------------------------------------------------------------------------

    def _sync(self, plan: Plan, answers: Answers) -> RunReport:
        hooks, world = Hooks(plan), self.organisation.world

        def asked(path: str, params: dict[str, str]) -> None:
            hooks.pass_moment("request")

        def happen(_: Any, number: int) -> None:
            for change in plan.during.get(number, ()):
                self.organisation.change(change)

        self.app.board.clear()
        self.app.board.faults.extend([Fault.drift(happen), *plan.faults])
        config = load_config(
            api_key=KEYS.get(plan.key or "", self.app.api_key),
            base_url="http://127.0.0.1:1",
            page_size=5,
            workers=1,
            lock_timeout=0,
            **plan.settings,
        )
        fake = FakeTime()
        client = OrgxClient(
            config,
            budget=RateBudget(
                max_requests=config.max_requests, max_wait=config.max_wait, clock=fake.clock, sleep=fake.sleep
            ),
            policy=RetryPolicy(attempts=5, base_seconds=0.01),
            transport=HttpTransport(config, InProcess(self.app, asked, answers.note)),
        )
        with hooks.installed():
            report = run_sync(
                config,
                pipeline(),
                tables=plan.tables or list(IN_PLAY),
                client=client,
                stretch=Stretch(pages=plan.pages) if plan.pages else Stretch(),
                clock=lambda: world.now + timedelta(minutes=plan.skew_minutes),
            )
        if hooks.dead:
            # A killed process has no report.
            raise KilledError
        return report

    # -- its claims ------------------------------------------------------------------------------------------------

    def _judge(self, plan: Plan, report: RunReport | None, start: int, answers: Answers, after: Holdings) -> None:
        whole = {name: table.whole for name, table in report.tables.items()} if report else {}
        for table in plan.tables or IN_PLAY:
            if plan.honesty is Honesty.LIES:
                # It may also read rows it did not request, from its memory of earlier responses.
                self.organisation.hide(table)
                self._note_left_out(table, start, answers, whole=whole.get(table, True))
        since = start if self.since is None else min(start, self.since)
        for table in IN_PLAY:
            self._nothing_is_marked_that_lives(plan, table, since, answers, after)
        if report is None:
            self.since = since
            return
        self._was_civil(plan, report)
        finished = report.error is None and all(table.error is None for table in report.tables.values())
        self.since = None if finished else since
        for name, table in report.tables.items():
            if TABLES[name].append_only and table.whole:
                # If not, the report says that older events are missing; the next full read is due within a week.
                missing = set(self.organisation.ids(IN_PLAY[name].kind)) - after.by_id(name).keys()
                self.out_of_reach = set() if table.verdict in GOOD else missing
            if report.error is None and table.error is None and not table.exit_code and table.verdict in GOOD:
                self._keeps_its_word(plan, name, table, start, after)

    def _note_left_out(self, table: str, start: int, answers: Answers, *, whole: bool) -> None:
        organisation, kind = self.organisation, IN_PLAY[table].kind
        for row_id in organisation.ids(kind):
            lived = None not in organisation.states(kind, row_id, start, organisation.now)
            missed = whole and row_id not in answers.listed[table]
            if answers.versions[table][row_id] - {*organisation.states(kind, row_id, start, organisation.now)}:
                self.outdated[table, row_id] += 1
            if lived and row_id not in answers.shown[table] and (missed or row_id in answers.denied[table]):
                self.left_out[table, row_id] += 1

    def _nothing_is_marked_that_lives(
        self, plan: Plan, table: str, since: int, answers: Answers, after: Holdings
    ) -> None:
        organisation, kind = self.organisation, IN_PLAY[table].kind
        was = {row.id for row in self.before.rows[table] if row.deleted}
        marked = [row for row in after.rows[table] if row.deleted and row.id not in was]
        if plan.omits_without_ids and are_few(len(marked), len(after.rows[table]) - len(was)):
            # A list that lacks rows, read twice, is all that a run can know.
            return
        for row in marked:
            if None in organisation.states(kind, row.id, since, organisation.now):
                continue
            if row.id not in answers.shown[table] and self.left_out[table, row.id] > 1:
                continue
            if plan.key == "narrow" and plan.settings.get("full"):
                # A full read with a key that sees less states that nothing else exists.
                continue
            if plan.settings.get("workspace_id") and self._moved(kind, row.id):
                continue
            self._fail(f"{table}: {row.id} is marked as deleted although OrgX had it throughout")

    def _moved(self, kind: str, row_id: str) -> bool:
        row = self.organisation.world.get(kind, row_id) or {}
        return "workspace_id" in row and any("move" in step for step in self.steps)

    def _was_civil(self, plan: Plan, report: RunReport) -> None:
        said = [report.error, *report.messages, *(table.error for table in report.tables.values())]
        for text in filter(None, said):
            if "Unexpected" in text or "defect" in text:
                self._fail(f"the run reports a bug: {text}")
        if report.exit_code == 1 and not plan.may_fail:
            self._fail(f"the run fails although nobody must act: {[*filter(None, said)]}")
        if report.exit_code not in (0, 1, 3, 4):
            self._fail(f"exit code {report.exit_code}")

    def _keeps_its_word(self, plan: Plan, table: str, report: TableReport, start: int, after: Holdings) -> None:
        organisation, kind = self.organisation, IN_PLAY[table].kind
        self._nothing_is_older(table, start, after)
        self._is_read_whole_in_time(plan, table, report)
        if plan.honesty is Honesty.LIES or plan.key is not None:
            return
        if not report.whole:
            if organisation.blind(table, self.proven[table]):
                return
            if plan.honesty is Honesty.BLIND and organisation.miscounted(table, self.proven[table]):
                return
        everything = report.whole and bool(plan.settings.get("full"))
        scope = plan.settings.get("workspace_id")
        self._equals_the_world(table, start, after, everything=everything, whole=report.whole, scope=scope)
        if report.whole and plan.settings.get("workspace_id") is None:
            if everything:
                self.by_hand = {pair for pair in self.by_hand if pair[0] != table}
            if not any(pair[0] == table for pair in self.by_hand):
                self.proven[table] = start
        if start == organisation.now:
            rows = after.by_id(table)
            for row_id in organisation.ids(kind):
                self._note_seen(table, row_id, rows.get(row_id))

    def _is_read_whole_in_time(self, plan: Plan, table: str, report: TableReport) -> None:
        exempt = plan.skew_minutes or TABLES[table].append_only or "weekly reads" not in enabled()
        now, last = self.organisation.world.now, self.whole_at.get(table)
        if report.whole:
            self.whole_at[table] = now
        elif last is not None and now - last > WEEK_AND_A_DAY and not exempt:
            self._fail(f"{table}: no full read for {now - last}")

    def _note_seen(self, table: str, row_id: str, row: Stored | None) -> None:
        states = self.seen[table, row_id]
        state = None if row is None or row.deleted else row.state[0]
        if state != (states[-1] if states else None):
            states.append(state)

    def _nothing_is_older(self, table: str, start: int, after: Holdings) -> None:
        organisation, kind = self.organisation, IN_PLAY[table].kind
        rows = after.by_id(table)
        for row_id, old in self.before.by_id(table).items():
            new = rows.get(row_id)
            if new is None or new.deleted or (table, row_id) in self.by_hand:
                continue
            (_, was), (_, is_now) = old.state, new.state
            if was is None or is_now is None or is_now >= was or self.outdated[table, row_id] > 1:
                # A version that a later run still receives is accepted.
                continue
            if new.state not in organisation.states(kind, row_id, start, organisation.now):
                self._fail(f"{table}: {row_id} was {old.state} and is {new.state}, which is older")

    def _equals_the_world(
        self,
        table: str,
        start: int,
        after: Holdings,
        *,
        everything: bool,
        whole: bool = True,
        scope: str | None = None,
    ) -> None:
        """Check that a table has the rows that OrgX had since a moment.

        Args:
            table: Its name.
            start: The moment.
            after: Content of the warehouse.
            everything: Whether manual changes must be gone too.
            whole: Whether every row was read.
            scope: The workspace that was read; None for all.
        """
        organisation, kind = self.organisation, IN_PLAY[table].kind
        if repeated := after.repeated(table):
            self._fail(f"{table}: duplicate keys: {repeated}")
        rows = after.by_id(table)
        if strange := rows.keys() - set(organisation.ids(kind)):
            self._fail(f"{table}: rows that never existed: {strange}")
        for row_id in organisation.ids(kind):
            if scope is not None and not self._in_scope(kind, row_id, scope):
                continue
            states = organisation.states(kind, row_id, start, organisation.now)
            row = rows.get(row_id)
            lives = row is not None and not row.deleted
            if row is None and not whole and TABLES[table].append_only and row_id in self.out_of_reach:
                continue
            if None not in states and not lives:
                self._fail(f"{table}: {row_id} is missing; it was {states}")
            if not any(states) and lives:
                self._fail(f"{table}: {row_id} is present, but deleted in OrgX")
            if row is None or row.deleted or (not everything and (table, row_id) in self.by_hand):
                continue
            if row.state not in states:
                self._fail(f"{table}: {row_id} is {row.state}, and was {states} since the run began")

    def _in_scope(self, kind: str, row_id: str, scope: str) -> bool:
        row = self.organisation.world.get(kind, row_id)
        if row is None or kind not in ("task", "initiative"):
            return kind not in ("task", "initiative")
        return bool(row.get("workspace_id") == scope)

    def _history_is_true(self, table: str) -> None:
        """Check that history has each version that was seen, once, and none that never existed."""
        organisation, kind = self.organisation, IN_PLAY[table].kind
        versions: dict[str, list[Stored]] = defaultdict(list)
        for version in self.before.history[table]:
            versions[version.id].append(version)
        living = {row.id: row for row in self.before.rows[table] if not row.deleted}
        for row_id, found in versions.items():
            where = f"{table}_history: {row_id}"
            if len({version.valid_from for version in found}) < len(found):
                self._fail(f"{where} has two versions with the same time")
            for one, other in pairwise(found):
                if (one.row_hash, one.deleted) == (other.row_hash, other.deleted):
                    self._fail(f"{where} has one version twice in a row: {one.state}")
            if found[-1].deleted != (row_id not in living):
                self._fail(f"{where} ends with {found[-1]}")
            elif not found[-1].deleted and found[-1].state != living[row_id].state:
                self._fail(f"{where} ends with {found[-1].state}, the table with {living[row_id].state}")
            ever = organisation.ever(kind, row_id)
            told = [None if version.deleted else version.state for version in found]
            counts = Counter(ever)
            for state, count in Counter(state for state in told if state is not None).items():
                if state not in counts and not state[0].startswith("by hand"):
                    self._fail(f"{where} has {state}, which never existed")
                if count > counts[state] and not self._may_repeat(table, row_id):
                    self._fail(f"{where} has {state} {count} times, which occurred {counts[state]} times: {told}")
            remaining = iter([None if state is None else state[0] for state in told])
            seen = self.seen[table, row_id]
            if table not in self.torn and not all(state in remaining for state in seen):
                self._fail(f"{where} lacks some of {seen}: {told}")
        if table not in self.torn and (lacking := living.keys() - versions.keys()):
            self._fail(f"{table}_history: no version of {lacking}")

    def _may_repeat(self, table: str, row_id: str) -> bool:
        # What was deleted by hand is loaded again.
        if table in self.torn | self.detours or any(row == row_id for _, row in self.by_hand):
            return True
        # Two runs with the same response accept it; so does one if no timestamp tells older from newer versions.
        told = self.outdated[table, row_id] > (IN_PLAY[table].kind in STAMPED)
        return told or self.left_out[table, row_id] > 1

    def _fail(self, what: str) -> None:
        raise LieError("\n".join([what, "", *self.steps]))


def hash_of(row_id: str) -> int:
    """Return a number for an id, the same in every process."""
    return sum(row_id.encode())


def _summary(report: RunReport) -> str:
    lines = [f"# exit {report.exit_code}, {report.requests} requests {report.error or ''} {report.messages or ''}"]
    for name, table in report.tables.items():
        how = "whole" if table.whole else "changes"
        counts = f"+{table.rows_new} ~{table.rows_changed} -{table.rows_deleted}"
        lines.append(f"#   {name}: {table.verdict} {how} {counts} {table.reasons or ''} {table.error or ''}")
    return "\n".join(lines)
