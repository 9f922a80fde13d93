"""Removes the guards of the connector, one at a time, and checks that a test fails for each.

    .venv/bin/python tests/guards.py [WORD]
    .venv/bin/python tests/guards.py --sample N

A guard is a line that prevents an error. It ends with its name, ``# guard: NAME`` (``-- guard: NAME`` in SQL), so that
it is found regardless of the surrounding code. The table below has the replacement of the line, and the test that must
then fail in a copy of the checkout. A guard that no test detects is reported, and the exit code is 1. With a word, only
guards with that word in their names are tried; with a sample, that many, different ones each hour.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "orgx_source"
MARK = re.compile(r"\s*(?:#|--) guard: ([a-z0-9-]+)$")
NUMBERS = "tests/marts/test_numbers.py"
DOUBTS = "tests/marts/test_times_in_doubt.py"
MEMORY = "tests/e2e/test_memory.py"
INBOX = "tests/unit/test_inbox.py"
OPTIONAL = "tests/e2e/test_optional_tables.py"
MCP = "tests/e2e/test_mcp.py"
OTHER_USES = "tests/e2e/test_other_uses.py"
ATTENTION = "tests/marts/test_needs_attention.py"


@dataclass(frozen=True)
class Removal:
    """One way to remove a guard.

    Attributes:
        line: Replacement of the marked line; empty to delete it.
        test: The test that must fail.
    """

    line: str
    test: str


@dataclass(frozen=True)
class Place:
    """The location of a guard.

    Attributes:
        file: The file.
        number: Its line number, from 0.
    """

    file: Path
    number: int


def _identity(name: str) -> str:
    return f"{NUMBERS}::test_two_ways_to_count_agree[duckdb-{name}]"


GUARDS: dict[str, Sequence[Removal]] = {
    "secrets-of-runs": (Removal("if False:", f"{OPTIONAL}::test_no_preview_token_is_in_a_table_or_an_error"),),
    "optional-tables": (
        Removal("raise", f"{OPTIONAL}::test_a_closed_door_is_a_note_and_is_asked_again_after_seven_days"),
    ),
    "closed-doors-are-remembered": (
        Removal("return {}", f"{OPTIONAL}::test_a_closed_door_is_a_note_and_is_asked_again_after_seven_days"),
    ),
    "ids-of-two-doors": (
        Removal("if apart := False:", f"{OPTIONAL}::test_handoffs_of_two_doors_without_an_id_in_common_are_all_kept"),
    ),
    "doors-that-meet": (
        Removal("return True", f"{OPTIONAL}::test_more_new_rows_than_a_route_lists_become_one_kind_once_both_are_met"),
    ),
    "open-in-part": (
        Removal(
            "closed = dict(refused)",
            f"{OPTIONAL}::test_a_route_that_refuses_in_the_middle_of_a_list_is_asked_again_by_the_next_run",
        ),
    ),
    "a-cost-below-zero-is-not-known": (
        Removal("receipts.cost_estimate_cents as cost_cents,", "tests/marts/test_costs.py"),
    ),
    "cursor-behind-the-start": (Removal("cursor=latest,", "tests/unit/test_cursor.py"),),
    "loads-that-arrived": (
        Removal("loads: list[str] = []", "tests/unit/test_table_state.py"),
        Removal('loads = [str(saved.get("load_id"))]', "tests/unit/test_table_state.py"),
    ),
    "changes-under-another-key": (Removal("", "tests/unit/test_keys_and_workspaces.py"),),
    "clock-of-the-future": (Removal("if False:", "tests/unit/test_table_state.py"),),
    "oldest-events": (Removal("pass", "tests/unit/test_cursor.py"),),
    "cursor-before-a-gap": (Removal("seen = newest", "tests/unit/test_cursor.py"),),
    "rows-too-new-to-be-gone": (Removal("if False:", "tests/unit/test_table_reader.py"),),
    "home-of-ids-in-a-batch": (
        Removal("pass", "tests/e2e/test_events.py::test_agents_of_the_first_event_belong_to_its_workspace"),
    ),
    "nothing-goes-back": (Removal("if False:", "tests/unit/test_table_reader.py"),),
    "rows-that-should-have-come": (Removal("if absent := 0:", "tests/unit/test_table_reader.py"),),
    "changes-without-a-trace": (Removal("if untraced := 0:", "tests/unit/test_table_reader.py"),),
    "budget-that-is-too-small": (Removal("pass", "tests/unit/test_table_reader.py"),),
    "order-that-was-not-kept": (Removal("pass", "tests/unit/test_table_reader.py"),),
    "events-that-reach-back": (Removal("reaches_back = True", "tests/e2e/test_feed.py"),),
    "size-of-an-mcp-response": (Removal("if False:", "tests/unit/test_mcp_session.py"),),
    "types-that-a-read-needs": (Removal("if False:", "tests/e2e/test_made_anew.py"),),
    "counts-that-differ": (Removal("if False:", "tests/unit/test_table_reader.py"),),
    "changes-behind-a-resumed-read": (Removal("watermark = self._started", "tests/unit/test_table_reader.py"),),
    "arrival": (Removal("if False:", "tests/e2e/test_arrival.py"),),
    "rows-that-stand-twice": (Removal("for table in ():", "tests/e2e/test_arrival.py"),),
    "versions-that-stand-twice": (Removal("for table in ():", "tests/e2e/test_arrival.py"),),
    "deletion-of-a-lost-load": (Removal("return False", "tests/unit/test_changes.py"),),
    "history-of-a-lost-load": (Removal("for table in ():", "tests/unit/test_table_reader.py"),),
    "vanished-rows-are-asked-for": (
        Removal("still_there: set[str] | None = set()", "tests/unit/test_table_reader.py"),
    ),
    "vanished-twice": (Removal("if False:", "tests/unit/test_table_reader.py"),),
    "rows-set-aside": (Removal("gone, aside = list(ids), {}", "tests/unit/test_keys_and_workspaces.py"),),
    "workspace-out-of-sight": (Removal("pass", "tests/e2e/test_workspaces.py"),),
    "rows-out-of-sight": (
        Removal(
            "in_sight = candidates",
            "tests/e2e/test_deletions.py::"
            "test_a_run_over_one_workspace_leaves_the_others_alone_and_finds_its_own_deletions[duckdb]",
        ),
    ),
    "deletions-before-the-place": (
        Removal("earlier: frozenset[str] = frozenset()", "tests/unit/test_table_reader.py"),
    ),
    "head-of-a-resumed-list": (
        Removal(
            "several = state.requests > 1 and self._resume is None",
            f"{MCP}::test_what_happens_to_a_list_between_the_runs_that_read_it_is_found",
        ),
    ),
    "passed-over": (Removal("if self._newest is None or self._oldest is None:", "tests/unit/test_search_reader.py"),),
    "lists-that-were-read": (
        Removal("return False", f"{MCP}::test_a_list_of_another_workspace_goes_on_where_it_stopped"),
    ),
    "deletions-before-the-head": (
        Removal("pass", f"{MCP}::test_what_went_from_the_part_that_was_read_shows_in_the_count_and_is_marked_later"),
    ),
    "closed-to-a-login": (
        Removal("pass", f"{MCP}::test_without_a_key_what_mcp_serves_is_synced_and_the_rest_says_why_not"),
    ),
    "not-open-is-not-stale": (
        Removal(
            "if not table.optional", f"{MCP}::test_without_a_key_what_mcp_serves_is_synced_and_the_rest_says_why_not"
        ),
    ),
    "filter-that-is-not-honoured": (Removal("if False:", "tests/unit/test_route_reader.py"),),
    "refused-ids-close-no-route": (Removal("except DriftError as refusal:", "tests/unit/test_route_reader.py"),),
    "promised-rows": (Removal("", "tests/unit/test_route_reader.py"),),
    "short-answer-is-no-end": (Removal("if len(page.rows) >= ROWS_ASKED:", "tests/unit/test_route_reader.py"),),
    "window-that-was-not-cut": (Removal("return not full", "tests/unit/test_route_reader.py"),),
    "revival": (
        Removal("differs = known is None or (not frozen and known.row_hash != row_hash)", "tests/unit/test_changes.py"),
    ),
    "separator-in-a-value": (Removal("if False:", "tests/unit/test_shape.py"),),
    "values-changed-by-hand": (Removal("", "tests/unit/test_changes.py"),),
    "order-of-versions": (Removal("self._stamp = self._clock()", "tests/unit/test_changes.py"),),
    "rows-left": (
        Removal("exit_code=4 if listing.may_be_mended or listing.short_by else 0,", "tests/unit/test_cursor.py"),
        Removal("exit_code=4 if listing.short_by or listing.rows_without_id else 0,", "tests/unit/test_cursor.py"),
    ),
    "total": (
        Removal(
            "return has_more is False or piece.end > total or received not in (piece.page.limit, self._page_size)",
            "tests/unit/test_paging_property.py",
        ),
    ),
    "times-beyond-the-clock": (Removal("return False", "tests/unit/test_paging_future.py"),),
    "full-page": (Removal("return self._claims_end(piece)", "tests/unit/test_paging_end.py"),),
    "ids-of-two-rows": (Removal("if False:", "tests/unit/test_route_reader.py"),),
    "total-of-the-answer": (Removal("pass", "tests/unit/test_route_reader.py"),),
    "claims-of-a-short-list": (Removal("pass", "tests/unit/test_route_reader.py"),),
    "claims-of-a-searched-list": (Removal("pass", "tests/unit/test_search_reader.py"),),
    "many-older-rows": (Removal("if False:", "tests/unit/test_table_reader.py"),),
    "own-workspace": (Removal("return ids[0] == ids[1]", "tests/unit/test_route_reader.py"),),
    "rows-of-someone-else": (Removal("if False:", "tests/e2e/test_made_anew.py"),),
    "versions-that-someone-deleted": (Removal("version = key", "tests/e2e/test_history.py"),),
    "short-page-that-promises-more": (Removal("promised = False", "tests/unit/test_paging_end.py"),),
    "a-list-that-outruns-its-reader": (Removal("if False:", "tests/unit/test_paging_growth.py"),),
    "changed-resources": (Removal("if is_first := False:", "tests/e2e/test_other_uses.py"),),
    "refreshed-tables": (Removal("if True:", "tests/e2e/test_other_uses.py"),),
    "no-refresh-in-a-run": (Removal("if False:", "tests/e2e/test_other_uses.py"),),
    "output-is-no-result": (
        Removal("raise", "tests/e2e/test_conditions.py::test_output_that_cannot_be_written_is_not_the_result"),
    ),
    "one-object-in-every-case": (Removal("if False:", "tests/e2e/test_conditions.py"),),
    "only-plain-files-are-replaced": (
        Removal("with making.open() as whole, making.replace(path).open() as opened:", "tests/unit/test_files.py"),
    ),
    "one-demo": (
        Removal(
            "if True:",
            "tests/e2e/test_command.py::test_of_two_demonstrations_at_once_one_says_that_the_other_makes_the_file",
        ),
    ),
    "demo-mark": (Removal("if False:", "tests/e2e/test_command.py::test_demo_replaces_nothing_but_a_demonstration"),),
    "untested": (
        Removal("pass", f"{OTHER_USES}::test_a_run_refuses_a_destination_that_was_never_tested_before_it_reads"),
    ),
    "nobody-else-reads-what-is-loaded": (Removal("pass", "tests/unit/test_make_pipeline.py"),),
    "one-run-at-a-time": (Removal("", "tests/e2e/test_sync_log.py"),),
    "damaged-bodies": (
        Removal(
            "if not isinstance(body, bytes):",
            "tests/unit/test_inbox.py::test_a_damaged_file_is_named_and_a_damaged_event_keeps_no_other_waiting",
        ),
    ),
    "answered-means-on-disk": (
        Removal(
            'connection.execute("pragma synchronous = normal")',
            "tests/unit/test_inbox.py::test_commits_wait_for_the_disk",
        ),
    ),
    "bytes-of-a-batch": (Removal("if False:", f"{INBOX}::test_a_batch_of_large_events_is_smaller"),),
    "listen-everywhere-only-if-asked": (Removal("if False:", INBOX),),
    "one-page-that-claims-to-be-all": (Removal("if False:", "tests/unit/test_paging_end.py"),),
    "file-named-like-a-schema": (Removal("return file.name if clashes else None", "tests/unit/test_dialect.py"),),
    "no-verdict-without-rows": (
        Removal(
            "pass",
            "tests/e2e/test_interrupted.py::"
            "test_rows_that_were_compared_with_another_state_of_the_warehouse_are_not_loaded",
        ),
    ),
    "vanished-rows-without-ids": (
        Removal("if missing and seen_only_here and still_there is None:", "tests/e2e/test_deletions.py"),
    ),
    "nothing-unsigned": (Removal("if False:", INBOX),),
    "merges-are-atomic": (
        Removal(
            "pass",
            "tests/e2e/test_refused.py::"
            "test_what_an_analyst_did_is_named_with_its_cure_and_no_row_is_lost[check in DuckDB]",
        ),
    ),
    "no-stretch-after-a-revoked-one": (
        Removal("if False:", "tests/e2e/test_arrival.py::test_after_a_stretch_that_does_not_count_the_cursor_stays"),
    ),
    "loads-of-the-future": (
        Removal(
            "if ahead := []:", "tests/e2e/test_made_anew.py::test_a_load_of_the_future_does_not_hold_up_new_machines"
        ),
    ),
    "one-process-makes-the-folder": (Removal("if True:", "tests/e2e/test_first_runs.py"),),
    "one-run-per-file": (Removal("pass", "tests/e2e/test_one_run.py"),),
    "one-run-per-postgres-dataset": (
        Removal(
            "if False:",
            "tests/e2e/test_one_run.py::test_a_second_run_from_another_home_leaves_at_once_and_nothing_is_written_twice[postgres]",
        ),
    ),
    "leftovers-are-loaded": (
        Removal(
            "messages: list[str] = []",
            "tests/e2e/test_locked_file.py::"
            "test_whoever_holds_it_for_too_long_is_named_and_what_was_read_is_loaded_next_time",
        ),
    ),
    "loads-of-others": (
        Removal(
            "if False:",
            "tests/e2e/test_interrupted.py::"
            "test_rows_that_were_compared_with_another_state_of_the_warehouse_are_not_loaded",
        ),
    ),
    "answered-means-in-the-inbox": (Removal("if False:", INBOX),),
    "older-leftovers": (
        Removal(
            "if False:",
            "tests/e2e/test_interrupted.py::"
            "test_a_machine_that_comes_back_does_not_load_rows_that_are_older_than_what_is_there",
        ),
    ),
    "given-up-at-once": (
        Removal(
            "",
            "tests/e2e/test_trouble.py::"
            "test_what_would_fail_every_night_is_given_up_at_once_and_every_night_is_in_the_log",
        ),
    ),
    "failed-jobs": (
        Removal(
            "if False:",
            "tests/e2e/test_trouble.py::"
            "test_a_job_that_failed_fails_the_run_whatever_dlts_settings_say[duckdb--this-pipeline]",
        ),
    ),
    "failed-checkpoint": (Removal("", f"{MEMORY}::test_a_load_whose_checkpoint_failed_does_not_count"),),
    "new-instance-only": (
        Removal(
            "if False:",
            f"{MEMORY}::test_a_commit_that_failed_while_somebody_else_keeps_the_file_open_fails_the_run",
        ),
    ),
    "nothing-after-a-failed-commit": (
        Removal(
            "if False:",
            f"{MEMORY}::test_after_a_commit_that_failed_the_file_is_closed_before_the_load_goes_on",
        ),
    ),
    "memory-for-a-query": (Removal("pass", f"{MEMORY}::test_a_query_that_needs_more_memory_has_it_at_its_next_try"),),
    "memory-for-a-commit": (
        Removal(
            "",
            f"{MEMORY}::test_a_connection_of_the_user_s_own_keeps_its_settings_and_every_commit_has_its_memory",
        ),
    ),
    "tasks-of-an-initiative-are-the-sum-of-their-groups": (
        Removal("count(*) as tasks_dropped,", NUMBERS),
        Removal("count(*) as tasks_dropped,", _identity("tasks of an initiative are the sum of their groups")),
    ),
    "deleted-tasks-are-not-there-now": (Removal("", NUMBERS),),
    "a-version-of-a-task-counts-until-the-next-one": (
        Removal("select initiative_id, status_group, cast(valid_to at time zone 'UTC' as date), 0", NUMBERS),
        Removal(
            "select initiative_id, status_group, cast(valid_to at time zone 'UTC' as date), 0",
            _identity("the last day is now"),
        ),
    ),
    "a-share-is-not-a-percentage": (
        Removal("when histories.progress_raw > 0 and histories.progress_raw < 1 then histories.progress_raw", NUMBERS),
    ),
    "what-was-there-at-the-first-read-did-not-appear-then": (Removal("(number = 1 and not is_deleted)", NUMBERS),),
    "agents-of-another-workspace-are-no-aliases": (
        Removal("partition by coalesce(agents.name, agents.id)", "tests/e2e/test_workspaces.py"),
    ),
    "an-alias-counts-as-the-agent-it-stands-for": (Removal("activity.agent_id as agent_id,", NUMBERS),),
    "the-artifacts-of-agents-add-up": (
        Removal("from (select * from marts.stg_orgx__artifacts limit 1) as one", NUMBERS),
    ),
    "nothing-is-known-of-an-agent-between-two-distant-reads": (
        Removal("where next_read_at is null or true", "tests/marts/test_gaps.py"),
    ),
    "a-decision-that-vanished-waits-no-more": (Removal("outcome as final_outcome,", NUMBERS),),
    "an-older-word-for-no-is-a-no": (Removal("('decision', 'rejected', 'settled'),", NUMBERS),),
    "an-approval-before-the-first-read-has-no-time": (
        Removal("coalesce(milestones.approved_at, artifacts.updated_at) as approved_at,", NUMBERS),
    ),
    "a-stamp-long-before-all-others-makes-no-days": (Removal("where day > day_before + 730 and 1 = 0", DOUBTS),),
    "a-stamp-of-the-future-makes-no-days": (Removal("cast('9999-12-31' as date) as last_day", DOUBTS),),
    "nothing-below-a-finished-initiative-needs-attention": (Removal("true", ATTENTION),),
    "what-is-due-today-is-not-late": (
        Removal("where work.due_on <= cast(as_of.as_of at time zone 'UTC' as date)", ATTENTION),
    ),
    "only-web-addresses-become-links": (Removal("return url is not None", "tests/unit/test_page.py"),),
    "nothing-waits-for-less-than-no-time": (Removal("", DOUBTS),),
    "no-day-has-fewer-decisions-than-none": (Removal("where asked_day is not null", DOUBTS),),
    "what-is-no-percentage-is-not-known": (Removal("else initiatives.progress_pct", DOUBTS),),
    "a-reader-s-clock-changes-no-number": (Removal("pass", "tests/unit/test_dialect.py"),),
    "decisions-asked-less-settled-are-open": (
        Removal("sum(coalesce(asked.decisions_asked, 0)) over so_far as bigint", NUMBERS),
        Removal(
            "sum(coalesce(asked.decisions_asked, 0)) over so_far as bigint",
            _identity("decisions asked less settled are open"),
        ),
    ),
    "rows-that-were-there-at-the-first-read-are-not-late": (Removal("and not is_deleted", NUMBERS),),
    "tasks-of-a-day-are-the-sum-of-their-groups": (
        Removal("sum(step) as dropped", _identity("tasks of a day are the sum of their groups")),
    ),
    "every-living-initiative-stands-in-the-last-day": (
        Removal(
            "on read_days.day >= initiatives.from_day and (read_days.day < initiatives.to_day)",
            _identity("every living initiative stands in the last day"),
        ),
    ),
    "open-and-settled-decisions-are-all": (
        Removal("decisions.outcome = 'pending' as is_open,", _identity("open and settled decisions are all")),
    ),
    "days-sum-up-to-all-artifacts-of-agents": (
        Removal(
            "where agent_id is not null and created_at is not null and deleted_at is not null",
            _identity("days sum up to all artifacts of agents"),
        ),
    ),
    "days-sum-up-to-all-runs": (
        Removal(
            "count(*) filter (where event_type = 'run_completed') as runs_started,",
            _identity("days sum up to all runs"),
        ),
    ),
    "days-sum-up-to-all-artifacts-and-decisions": (
        Removal(
            "where created_at is not null and deleted_at is not null",
            _identity("days sum up to all artifacts and decisions"),
        ),
    ),
    "agents-and-all-tasks-agree-on-what-was-done": (
        Removal(
            "count(*) filter (where entity_type = 'task' and from_group = 'done') as tasks_done,",
            _identity("agents and all tasks agree on what was done"),
        ),
    ),
    "every-artifact-flows-once": (
        Removal(
            "inner join milestones on artifacts.artifact_id = milestones.entity_id",
            _identity("every artifact flows once"),
        ),
    ),
    "intervals-of-an-agent-meet-without-a-gap": (
        Removal(
            "read_at as ended_at, previous_read_at, 1 as is_seen", _identity("intervals of an agent meet without a gap")
        ),
    ),
    "every-transition-has-a-version-before-or-a-read-before": (
        Removal("valid_from as changed_after,", _identity("every transition has a version before or a read before")),
    ),
    "every-table-that-was-asked-for-has-its-health": (
        Removal(
            "inner join lateness on totals.table_name = lateness.table_name",
            _identity("every table that was asked for has its health"),
        ),
    ),
    "visible-errors": (Removal("super().__init__(message)", "tests/unit/test_texts.py"),),
    "visible-output": (Removal("yield Segment(text, style, control)", "tests/unit/test_texts.py"),),
    "unpacked-size": (Removal("if False:", "tests/unit/test_network.py"),),
    "overdue-answer": (Removal("if False:", "tests/unit/test_network.py"),),
    "only-what-asking-made": (Removal("if True:", "tests/unit/test_target.py"),),
    "loopback-without-proxy": (Removal("if False:", "tests/unit/test_network.py"),),
}


def find_marks(package: Path = PACKAGE) -> Iterator[tuple[str, Place]]:
    """Yield the name of each guard in the source, and its location."""
    for file in sorted([*package.rglob("*.py"), *package.rglob("*.sql")]):
        for number, line in enumerate(file.read_text().splitlines()):
            if found := MARK.search(line):
                yield found[1], Place(file, number)


def take_out(place: Place, removal: Removal) -> str:
    """Return the text of a file without a guard."""
    lines = place.file.read_text().splitlines()
    line = lines[place.number]
    indent = line[: len(line) - len(line.lstrip())]
    lines[place.number] = indent + removal.line if removal.line else ""
    return "\n".join(lines) + "\n"


def is_noticed(place: Place, removal: Removal) -> bool:
    """Remove a guard in a copy of the checkout, and return whether its test fails there."""
    with tempfile.TemporaryDirectory(prefix="guard-") as directory:
        copy = Path(directory)
        for name in ("orgx_source", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        (copy / place.file.relative_to(ROOT)).write_text(take_out(place, removal))
        environment = {**os.environ, "PYTHONPATH": directory}
        options = ["-x", "-n0", "-p", "no:cacheprovider"]
        if "::" not in removal.test:
            # Of a whole file, the tests on DuckDB are enough.
            options += ["-k", "not postgres"]
        command = [sys.executable, "-m", "pytest", removal.test, *options]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{removal.test}: the test did not run: {done.stdout[-2000:]}")
        return done.returncode == 1


def choose(arguments: Sequence[str]) -> list[str]:
    """Return the names of the guards to try."""
    names = sorted(GUARDS)
    if arguments[:1] == ["--sample"]:
        size = int(arguments[1])
        start = int(time.time() // 3600) * size % len(names)
        return (names + names)[start : start + size]
    return [name for name in names if not arguments or arguments[0] in name]


def main(arguments: Sequence[str]) -> int:
    """Try guards; return the exit code."""
    places, missed = dict(find_marks()), 0
    for name in choose(arguments):
        for removal in GUARDS[name]:
            began = time.monotonic()
            noticed = is_noticed(places[name], removal)
            missed += not noticed
            verdict = "noticed" if noticed else "NOT NOTICED"
            sys.stdout.write(f"{verdict:<12} {time.monotonic() - began:5.0f} s  {name} ({removal.test})\n")
            sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
