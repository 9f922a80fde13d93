"""Take the guards of the connector out, one at a time, and see a test notice each.

    .venv/bin/python tests/guards.py [WORD]

Each guard is removed in a copy of the checkout, where the test that is named beside it must then fail. A guard that
nothing misses is reported, and the exit code is 1. With a word, only guards whose name holds it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEQUENCES = "tests/e2e/test_any_sequence.py"
NUMBERS = "tests/marts/test_numbers.py"


@dataclass(frozen=True)
class Guard:
    """A guard and how it is taken out.

    Attributes:
        name: What it keeps from happening.
        file: Where it stands, below the package.
        code: Its text; stands there once.
        without: What takes its place.
        test: The test that notices.
    """

    name: str
    file: str
    code: str
    without: str
    test: str = SEQUENCES


def _identity(name: str, mart: str, code: str, without: str) -> Guard:
    test = f"{NUMBERS}::test_two_ways_to_count_agree[duckdb-{name}]"
    return Guard(f"identity: {name}", f"marts/sql/{mart}.sql", code, without, test)


GUARDS = (
    Guard("a cursor stays behind the start of the read", "reading/table_reader.py", "min(newest, bound)", "newest",
          "tests/e2e/test_resume.py"),
    Guard(
        "a cursor counts only where its load arrived", "reading/table_state.py",
        'and self._has_load(str(saved.get("load_id")))', "", "tests/e2e/test_interrupted.py",
    ),
    Guard("counts that differ cause a whole read", "reading/table_reader.py",
          "if not whole and not self._adds_up(reader):", "if False:"),
    Guard("vanished rows are asked for", "reading/table_reader.py", "still_there = reader.find_ids(gone)",
          "still_there: set[str] | None = set()", "tests/e2e/test_deletions.py"),
    Guard("a filter that is not honoured is no witness", "api/route_reader.py", "if answered - chunk:", "if False:",
          "tests/e2e/test_deletions.py"),
    Guard("what vanishes at once must vanish twice", "reading/table_reader.py",
          "if not self._is_plausible(gone, self.living):", "if False:", "tests/e2e/test_deletions.py"),
    Guard("rows out of sight stay", "reading/table_reader.py", "if self._is_in_sight(known[row_id]) and self._may_go()",
          "if self._may_go()", "tests/e2e/test_deletions.py"),
    Guard("a row that returns comes back to life", "reading/changes.py", "known is None or known.deleted or",
          "known is None or", "tests/e2e/test_deletions.py"),
    Guard("versions keep their order when the clock goes back", "reading/changes.py",
          "never_before(self._clock(), self._stamp)", "self._clock()"),
    Guard("what changed behind a resumed read is read", "reading/table_reader.py",
          "watermark = resumed.started - self._config.overlap", "watermark = self._started",
          "tests/e2e/test_resume.py"),
    Guard("deletions before the place of resuming are found", "reading/table_reader.py",
          "earlier = self._resumed.candidates if self._resumed else frozenset()",
          "earlier: frozenset[str] = frozenset()", "tests/e2e/test_resume.py"),
    Guard("history gets what a lost load left out", "reading/table_reader.py",
          "for table in self._changes.missing_history():", "for table in ():", "tests/e2e/test_history.py"),
    Guard("a load that needs more memory gets it", "warehouse/duckdb_file.py",
          "here and gets it\", MEMORY_LIMIT)\n                self._lift()", "here and gets it\", MEMORY_LIMIT)",
          "tests/e2e/test_memory.py"),
    Guard("a commit has all the memory that DuckDB allows itself", "warehouse/duckdb_file.py",
          "            self._lift()\n            try:", "            try:", "tests/e2e/test_memory.py"),
    Guard("nothing is written in an instance in which a commit failed", "warehouse/duckdb_file.py",
          "            if self._is_distrusted():\n                raise self._refusal()\n            limited",
          "            limited", "tests/e2e/test_memory.py"),
    Guard("a load goes on only in a new instance", "warehouse/duckdb_file.py",
          "if self._is_distrusted():\n            connection", "if False:\n            connection",
          "tests/e2e/test_memory.py"),
    Guard("a load whose checkpoint failed does not count", "sync.py", "warehouse.revoke_loads(waiting)", "pass",
          "tests/e2e/test_memory.py"),
    Guard("leftovers are loaded", "sync.py",
          "report.messages += finish_leftovers(pipeline, warehouse, session.patience)", "pass",
          "tests/e2e/test_interrupted.py"),
    Guard("leftovers older than the warehouse are given up", "sync.py",
          "warehouse.newest_load() > min(waiting)", "False", "tests/e2e/test_interrupted.py"),
    Guard("what fails every night is given up at once", "sync.py",
          "        pipeline.abort_packages()\n        raise OrgxError(", "        raise OrgxError(",
          "tests/e2e/test_trouble.py::test_what_would_fail_every_night_is_given_up_at_once_and_every_night_is_in_the_log"),
    Guard("a total that counts something else ends no read", "api/paging.py",
          "has_more is False or (piece.end == total and received < (piece.page.limit or 0))",
          "has_more is False or piece.end > total or received not in (piece.page.limit, self._page_size)",
          "tests/unit/test_paging_property.py"),
    Guard("one run at a time", "sync.py", "only_one.enter_context(one_run_at_a_time(pipeline))", "pass",
          "tests/e2e/test_sync_log.py"),
    Guard("rows without an id are no full read", "reading/table_reader.py",
          "if listing.short_by or listing.rows_without_id:", "if listing.short_by:",
          "tests/contract/test_faults.py::test_rows_without_an_id_are_missed_also_where_nothing_counts_rows"),
    # The marts: each number has a way to be wrong.
    Guard("tasks of an initiative are the sum of their groups", "marts/sql/initiatives_current.sql",
          "count(*) filter (where status_group = 'dropped') as tasks_dropped", "count(*) as tasks_dropped", NUMBERS),
    Guard("deleted tasks are not there now", "marts/sql/initiatives_current.sql",
          "    from marts.stg_orgx__tasks\n    where deleted_at is null", "    from marts.stg_orgx__tasks", NUMBERS),
    Guard("a version of a task counts until the next one", "marts/sql/initiative_progress_daily.sql",
          "cast(valid_to at time zone 'UTC' as date), -1", "cast(valid_to at time zone 'UTC' as date), 0", NUMBERS),
    Guard("a share is not a percentage", "marts/sql/stg_orgx__versions.sql",
          "then histories.progress_raw * 100", "then histories.progress_raw", NUMBERS),
    Guard("what was there at the first read did not appear then", "marts/sql/status_transitions.sql",
          "number = 1 and seen_after is not null", "number = 1", NUMBERS),
    Guard("an alias counts as the agent it stands for", "marts/sql/stg_orgx__activity.sql",
          "coalesce(agents.canonical_agent_id, activity.agent_id)", "activity.agent_id", NUMBERS),
    Guard("the artifacts of agents add up", "marts/sql/agent_throughput_daily.sql",
          "    from marts.stg_orgx__artifacts\n", "    from (select * from marts.stg_orgx__artifacts limit 1) as one\n",
          NUMBERS),
    Guard("nothing is known of an agent between two distant reads", "marts/sql/agent_timeline.sql",
          "followed.gap_seconds <= usual.gap_seconds or run_id = next_run_id", "true", "tests/marts/test_gaps.py"),
    Guard("a decision that vanished waits no more", "marts/sql/decision_latency.sql",
          "case when deleted_at is not null and outcome = 'pending' then 'cancelled' else outcome end as final_outcome",
          "outcome as final_outcome", NUMBERS),
    Guard("an older word for no is a no", "marts/sql/stg_orgx__statuses.sql",
          "('decision', 'rejected', 'declined')", "('decision', 'rejected', 'settled')", NUMBERS),
    Guard("an approval before the first read has no time", "marts/sql/artifact_flow.sql",
          "milestones.approved_at,\n", "coalesce(milestones.approved_at, artifacts.updated_at) as approved_at,\n",
          NUMBERS),
    Guard("decisions asked less settled are open", "marts/sql/org_daily.sql",
          "coalesce(asked.decisions_asked, 0) - coalesce(settled.decisions_settled, 0)",
          "coalesce(asked.decisions_asked, 0)", NUMBERS),
    Guard("rows that were there at the first read are not late", "marts/sql/sync_health.sql",
          "where seen_after is not null and updated_at is not null", "where updated_at is not null", NUMBERS),
    # Each identity between two numbers is one that can fail by itself.
    _identity("tasks of an initiative are the sum of their groups", "initiatives_current",
              "filter (where status_group = 'dropped') as tasks_dropped", "as tasks_dropped"),
    _identity("tasks of a day are the sum of their groups", "initiative_progress_daily",
              "sum(case when status_group = 'dropped' then step else 0 end)", "sum(step)"),
    _identity("the last day is now", "initiative_progress_daily", "-1\n    from versions", "0\n    from versions"),
    _identity("every living initiative stands in the last day", "initiative_progress_daily",
              "read_days.day < initiatives.to_day or initiatives.to_day is null", "read_days.day < initiatives.to_day"),
    _identity("open and settled decisions are all", "decision_latency",
              "decisions.final_outcome = 'pending' as is_open", "decisions.outcome = 'pending' as is_open"),
    _identity("decisions asked less settled are open", "org_daily",
              "coalesce(asked.decisions_asked, 0) - coalesce(settled.decisions_settled, 0)",
              "coalesce(asked.decisions_asked, 0)"),
    _identity("days sum up to all artifacts of agents", "agent_throughput_daily",
              "where agent_id is not null and created_at is not null\n",
              "where agent_id is not null and created_at is not null and deleted_at is not null\n"),
    _identity("days sum up to all runs", "agent_throughput_daily",
              "count(*) filter (where event_type = 'run_started') as runs_started",
              "count(*) filter (where event_type = 'run_completed') as runs_started"),
    _identity("days sum up to all artifacts and decisions", "org_daily",
              "from marts.stg_orgx__artifacts\n    where created_at is not null",
              "from marts.stg_orgx__artifacts\n    where created_at is not null and deleted_at is not null"),
    _identity("agents and all tasks agree on what was done", "org_daily",
              "entity_type = 'task' and to_group = 'done'", "entity_type = 'task' and from_group = 'done'"),
    _identity("every artifact flows once", "artifact_flow",
              "left join milestones on artifacts.artifact_id = milestones.entity_id",
              "inner join milestones on artifacts.artifact_id = milestones.entity_id"),
    _identity("intervals of an agent meet without a gap", "agent_timeline",
              "coalesce(next_read_at, read_at) as ended_at", "read_at as ended_at"),
    _identity("every transition has a version before or a read before", "status_transitions",
              "seen_after as changed_after", "valid_from as changed_after"),
    _identity("every table that was asked for has its health", "sync_health",
              "left join lateness on", "inner join lateness on"),
)  # fmt: skip


def main(word: str = "") -> int:
    """Try each guard; return the exit code."""
    missed = []
    for guard in GUARDS:
        if word not in guard.name:
            continue
        began = time.monotonic()
        noticed = is_noticed(guard)
        missed += [] if noticed else [guard.name]
        verdict = "noticed" if noticed else "NOT NOTICED"
        sys.stdout.write(f"{verdict:<12} {time.monotonic() - began:5.0f} s  {guard.name} ({guard.test})\n")
        sys.stdout.flush()
    return 1 if missed else 0


def is_noticed(guard: Guard) -> bool:
    """Take a guard out in a copy of the checkout, and return whether its test fails there."""
    with tempfile.TemporaryDirectory(prefix="guard-") as directory:
        copy = Path(directory)
        for name in ("orgx_source", "tests", "pyproject.toml"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        path = copy / "orgx_source" / guard.file
        text = path.read_text()
        if text.count(guard.code) != 1:
            raise SystemExit(f"{guard.name}: its code stands {text.count(guard.code)} times in {guard.file}")
        path.write_text(text.replace(guard.code, guard.without))
        environment = {**os.environ, "ORGX_SEQUENCES": os.environ.get("ORGX_SEQUENCES", "60")}
        command = [
            sys.executable,
            "-m",
            "pytest",
            guard.test,
            "-x",
            "-n0",
            "-k",
            "not postgres",
            "-p",
            "no:cacheprovider",
        ]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{guard.name}: the test could not run: {done.stdout[-2000:]}")
        return done.returncode == 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
