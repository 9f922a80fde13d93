"""One run: loads leftovers of an earlier run, then reads, loads, counts and reports.

The command and ``pipelines/nightly.py`` call this; your own pipeline does not need it.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any

from dlt.pipeline.exceptions import PipelineStepFailed

from orgx_source.api.client import OrgxClient
from orgx_source.api.route_choice import NOT_OPEN_TO_LOGIN, REST, served_tables
from orgx_source.config import OrgxConfig, dlt_defaults
from orgx_source.errors import (
    CheckpointError,
    CommitError,
    ConfigError,
    DestinationError,
    MachineError,
    OrgxError,
    TableRefusedError,
    worst_exit_code,
)
from orgx_source.explain import explain, first_words, how_to_mend, is_mendable, refused_table, root_cause
from orgx_source.login.tokens import describe_login
from orgx_source.marts.apply import apply_marts
from orgx_source.reading.memory import search_memory
from orgx_source.reading.report import RunReport, log_rows
from orgx_source.reading.session import ReadSession, Stretch
from orgx_source.source import memory_source, orgx_source, sync_log_source
from orgx_source.tables import MEMORY_HITS, TABLES, table_of
from orgx_source.times import utc_now
from orgx_source.warehouse.arrival import Arrival, Shortfall
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.duckdb_file import LockPatience
from orgx_source.warehouse.pipeline import check_tested, has_working_folder, make_pipeline
from orgx_source.warehouse.run_lock import one_run_at_a_time

__all__ = ["make_pipeline", "one_run_at_a_time", "renew_marts", "run_sync"]

logger = logging.getLogger(__name__)

# A load further in the future was made by a machine with a wrong clock.
MAX_AHEAD_SECONDS = 86_400.0

SCHEMA = "orgx"
DEFAULT_STRETCH = Stretch()

Progress = Callable[[str, int, int], None]
"""Called with (table, requests, rows)."""
Wait = Callable[[float, str], None]
"""Called with (seconds, why) before a wait."""


def run_sync(
    config: OrgxConfig,
    pipeline: Any,
    *,
    tables: Sequence[str] | None = None,
    client: OrgxClient | None = None,
    on_progress: Progress | None = None,
    on_wait: Wait | None = None,
    stretch: Stretch | None = DEFAULT_STRETCH,
    clock: Callable[[], datetime] = utc_now,
    untested: bool = False,
) -> RunReport:
    """Bring a warehouse up to date with OrgX.

    Failures of OrgX, the network or the destination are not raised but reported, table by table.

    Args:
        config: Key, URL and limits.
        pipeline: From `make_pipeline`, or any dlt pipeline.
        tables: Names of the tables to sync; by default all.
        client: Reads OrgX, and is closed at the end; by default created from the settings.
        on_progress: Called from several threads.
        on_wait: Called from several threads.
        stretch: How much is read before a load, which is the most that a kill can cost.
        clock: This machine's time in UTC.
        untested: Whether to allow a destination other than DuckDB and PostgreSQL, whose rows may differ.
    """
    report = RunReport(run_id=str(uuid.uuid4()), started_at=clock())
    client, names = client or OrgxClient(config), list(tables or _all_of(config))
    session = ReadSession(
        config, client, report.tables, collect_errors=True, on_progress=on_progress, clock=clock, stretch=stretch
    )
    closed = [] if tables else [name for name in _all_of(config, at_best=True) if name not in names]
    report.messages += _login_warnings(config)
    client.budget.on_wait = session.patience.on_wait = on_wait
    with ExitStack() as scope:
        scope.enter_context(dlt_defaults())
        with _ending(pipeline, report, session, clock):
            report.messages += filter(None, [check_tested(pipeline, untested=untested)])  # guard: untested
            _bring_up_to_date(pipeline, session, names, report, scope)
            for name in closed:
                session.report(name).note = NOT_OPEN_TO_LOGIN  # guard: closed-to-a-login
        if report.reached:
            _conclude(pipeline, report, [*names, *(name for name in closed if name in report.tables)], session)
    return report


@contextmanager
def _ending(pipeline: Any, report: RunReport, session: ReadSession, clock: Callable[[], datetime]) -> Iterator[None]:
    """Record every failure in the report, and always complete the report."""
    try:
        yield
    except Exception as error:
        failure = _explain(pipeline, error)
        report.error, report.exit_code = str(failure), failure.exit_code
    finally:
        session.close()
        report.finish(session.client.budget, clock())


def _explain(pipeline: Any, error: Exception) -> OrgxError:
    """Return an error as an `OrgxError`; without dlt's working directory, any error is a consequence of that."""
    if has_working_folder(pipeline):
        return explain(error)
    logger.info("the error behind the message:", exc_info=error)
    return MachineError(
        f"dlt's working directory {pipeline.working_dir} was deleted during the run. Run again, and keep the directory "
        "(DLT_DATA_DIR) out of cleanup jobs until a run has ended"
    )


def _all_of(config: OrgxConfig, *, at_best: bool = False) -> list[str]:
    """Return the tables of a run if none is named; ``at_best`` are those with a key."""
    doors = REST if at_best else config.doors
    return [
        *config.table_names(None, served_tables(doors)),
        *([MEMORY_HITS] if config.memory and "rest" in doors else []),
    ]


def _login_warnings(config: OrgxConfig) -> list[str]:
    if "mcp" not in config.doors or config.mcp_token:
        return []
    with suppress(OrgxError):
        # Errors in the file are reported when the login is needed.
        if (said := describe_login(config.mcp_url, time.time())) is not None and said[1]:
            return [f"{said[0]}."]
    return []


def _bring_up_to_date(
    pipeline: Any, session: ReadSession, names: Sequence[str], report: RunReport, scope: ExitStack
) -> None:
    """Load leftovers, read and load the tables, and count the rows.

    Args:
        pipeline: The pipeline.
        session: The shared resources of its tables.
        names: The tables.
        report: Receives the results.
        scope: Holds the lock of the run.
    """
    if pipeline.refresh:  # guard: no-refresh-in-a-run
        raise ConfigError(
            f"The pipeline has refresh={pipeline.refresh!r}, so each step of a run would drop the rows of the previous "
            "one. Create it without refresh; full=True (--full) reads everything again."
        )
    scope.enter_context(one_run_at_a_time(pipeline, patience=session.config.lock_timeout))  # guard: one-run-at-a-time
    warehouse = session.warehouse(pipeline)
    # In parallel: the first response, with the connection to OrgX, takes a while.
    session.executor.submit(session.workspace)
    messages, missing = take_up(pipeline, warehouse, session.patience)
    report.messages += messages
    report.reached = True
    session.check_workspace()  # guard: workspace-out-of-sight
    messages, refusals = make_missing(pipeline, session, missing)
    report.messages += messages
    remaining = [name for name in names if name in TABLES]
    for refusal in refusals:
        if table_of(refusal.table) in remaining:
            remaining = session.read_again(remaining, table_of(refusal.table), refusal)
    _read_and_load(pipeline, session, remaining, warehouse)
    with warehouse.kept_open():
        # If nothing was ever read, there is nothing to show.
        report.has_tables = any(map(warehouse.columns, TABLES))
        _count(report, warehouse)
        report.messages += warehouse.describe_triggers(TABLES)
        warehouse.make_views(TABLES[name] for name in names if name in TABLES)
    if MEMORY_HITS in names:
        _remember(pipeline, session, warehouse, report)


def _remember(pipeline: Any, session: ReadSession, warehouse: Warehouse, report: RunReport) -> None:
    """Run the saved searches and load their hits; their errors do not affect the tables."""
    table = session.report(MEMORY_HITS)
    rows: list[dict[str, Any]] = []
    try:
        try:
            rows.extend(search_memory(session.client, session.config.memory, table, session.clock()))
        finally:
            if rows:
                _patiently(pipeline, session.patience, partial(pipeline.extract, memory_source(rows)))
                for shortfall in _load_or_give_up(pipeline, warehouse, session.patience):
                    (table.mended if shortfall.mended else table.doubt)(str(shortfall))
                table.rows_new = len(rows)
    except Exception as error:
        failure = explain(error)
        table.error, table.exit_code, table.verdict = str(failure), failure.exit_code, None


def _find_missing(pipeline: Any, warehouse: Warehouse) -> dict[str, list[str]]:
    if not warehouse.can_be_asked or SCHEMA not in pipeline.schema_names:
        return {}
    tables = pipeline.schemas[SCHEMA].data_tables(seen_data_only=True)
    wanted = {
        table["name"]: [name for name, hints in table["columns"].items() if hints.get("data_type")] for table in tables
    }
    return warehouse.missing(wanted)


def make_missing(
    pipeline: Any, session: ReadSession, missing: dict[str, list[str]]
) -> tuple[list[str], list[TableRefusedError]]:
    """Recreate dropped tables and columns.

    dlt creates a table only when its schema changes, and would fail every night.

    Returns:
        Messages about what was recreated, and the errors of what the destination refused to create.
    """
    refusals = list(_make(pipeline, missing)) if missing else []
    for refusal in refusals:
        del missing[refusal.table]
    session.emptied |= {name for name, columns in missing.items() if columns}
    return [
        f"{name} was missing from the warehouse and was recreated"
        if not columns
        else f"{name} had missing columns ({', '.join(columns)}), which were recreated"
        + ("; their values in earlier versions are lost" if table_of(name) != name else "")
        for name, columns in missing.items()
    ], refusals


def _make(pipeline: Any, names: Iterable[str]) -> Iterator[TableRefusedError]:
    """Create the missing parts of each table, and yield the refusals."""
    with pipeline.destination_client(SCHEMA) as client:
        for name in names:
            try:
                client.update_stored_schema(only_tables=[name], force=True)
            except TableRefusedError as refusal:
                mend = "restore the name of a renamed column, or drop the table, which is then read in full"
                yield TableRefusedError(name, f"{refusal}. The owner of {name} must {mend}.")


def _read_and_load(pipeline: Any, session: ReadSession, names: Sequence[str], warehouse: Warehouse) -> None:
    """Read and load the tables in stretches; a later failure does not affect loaded ones."""
    remaining = list(names)
    while remaining:
        session.begin_stretch()
        try:
            shortfalls = _read_and_load_stretch(pipeline, session, remaining, warehouse)
        except TableRefusedError as refusal:
            if table_of(refusal.table) not in remaining:
                raise
            # The rows of the package are read again, except for the refused table.
            remaining = session.read_again(remaining, table_of(refusal.table), refusal)
            continue
        for shortfall in shortfalls:
            name = table_of(shortfall.table)
            report = session.report(name)
            (report.mended if shortfall.mended else report.doubt)(str(shortfall))
            if not shortfall.mended and name in session.open_tables:  # guard: no-stretch-after-a-revoked-one
                # A later stretch would move the cursor past the missing rows.
                session.stop_reading(name)
                report.verdict = report.best_verdict
        remaining = [name for name in remaining if name in session.open_tables]


def _read_and_load_stretch(
    pipeline: Any, session: ReadSession, names: Sequence[str], warehouse: Warehouse
) -> list[Shortfall]:
    """Read and load one stretch. If that fails, its tables have no verdict: their rows may not be in the warehouse."""
    try:
        source = orgx_source(session=session).with_resources(*names)
        _patiently(pipeline, session.patience, partial(pipeline.extract, source))
        return _load_or_give_up(pipeline, warehouse, session.patience)
    except BaseException:
        for name in session.reports.keys() & set(names):
            session.reports[name].verdict = None  # guard: no-verdict-without-rows
        raise


def take_up(pipeline: Any, warehouse: Warehouse, patience: LockPatience) -> tuple[list[str], dict[str, list[str]]]:
    """Load leftovers of an earlier run, and fetch the state stored with the data, for a machine without one.

    Returns:
        Messages, and the tables and columns that dlt has created and that were dropped, as `Warehouse.missing` does.
    """
    # Before the state is fetched: if nothing was ever loaded, dlt would discard the packages.
    messages = finish_leftovers(pipeline, warehouse, patience)  # guard: leftovers-are-loaded
    with warehouse.kept_open():
        if ahead := warehouse.revoke_loads_after(time.time() + MAX_AHEAD_SECONDS):  # guard: loads-of-the-future
            messages.append(f"loads dated in the future by a wrong clock no longer count: {', '.join(ahead)}")
        _patiently(pipeline, patience, pipeline.sync_destination)
        warehouse.note_newest(SCHEMA)
        return messages, _find_missing(pipeline, warehouse)


def extract_and_load(
    pipeline: Any, source: Any, warehouse: Warehouse, patience: LockPatience
) -> tuple[list[str], list[Shortfall]]:
    """Read a source and load it, as a run does.

    Returns:
        The ids of the loads, and the tables with incomplete loads.

    Raises:
        OrgxError: It could not be loaded.
    """
    _patiently(pipeline, patience, partial(pipeline.extract, source))
    load_ids = _pending(pipeline)
    return load_ids, _load_or_give_up(pipeline, warehouse, patience)


def _patiently(pipeline: Any, patience: LockPatience, step: Callable[[], Any]) -> None:
    """Run a step; if another process has the DuckDB file open, wait and continue where it stopped."""
    while True:
        try:
            step()
            return
        except PipelineStepFailed as error:
            root = root_cause(error)
            if isinstance(root, KeyboardInterrupt):
                # dlt treats it as a failure of the step.
                raise root from None
            if not patience.wait(root):
                raise
            if error.step in ("normalize", "load"):
                step = partial(_load_pending, pipeline)


def _load_or_give_up(pipeline: Any, warehouse: Warehouse, patience: LockPatience) -> list[Shortfall]:
    """Load the rows read. A load that would fail again is discarded, so that nothing waits behind it, such as the log.

    Returns:
        Tables with incomplete loads.

    Raises:
        TableRefusedError: It could not be loaded because of one table; the package was discarded.
        OrgxError: It could not be loaded. Its cursors do not count, so the next run reads the rows again.
    """
    try:
        return _load_whole(pipeline, warehouse, partial(_load, pipeline, warehouse, patience))
    except PipelineStepFailed as error:
        failure = explain(error)
        waiting = _pending(pipeline)
        if is_mendable(failure) or not waiting:
            raise failure from None
        pipeline.abort_packages()  # guard: given-up-at-once
        message = f"{failure}. Package {', '.join(waiting)} was discarded; its rows are read again."
        if table := refused_table(error):
            raise TableRefusedError(table, f"{table}: {message}{how_to_mend(error, table)}") from None
        raise OrgxError(f"{message}{how_to_mend(error, 'this table')}") from None


def _load_whole(pipeline: Any, warehouse: Warehouse, load: Callable[[], None]) -> list[Shortfall]:
    """Load the extracted rows and verify the load; an incomplete load is repeated once, or does not count.

    Args:
        pipeline: The pipeline.
        warehouse: Its dataset.
        load: Loads all pending packages.

    Returns:
        Tables with incomplete loads.
    """
    load_ids = _pending(pipeline)
    load()
    return _prove(Arrival(pipeline, warehouse), warehouse, load_ids, load)


def _prove(
    arrival: Arrival, warehouse: Warehouse, load_ids: Sequence[str], load: Callable[[], None]
) -> list[Shortfall]:
    """Verify loads, and repeat incomplete ones once; see `_load_whole`."""
    found = arrival.shortfalls(load_ids)
    if not found:
        arrival.settle(load_ids)
        return []
    logger.warning("%s", "; ".join(map(str, chain(*found.values()))))
    # All of them, even if one fails.
    if any([arrival.take_back(load_id) for load_id in found]):
        load()
    still = arrival.shortfalls(list(found))
    if still:
        warehouse.revoke_loads(list(still))
    arrival.settle(load_ids)
    return [replace(short, mended=load_id not in still) for load_id, shorts in found.items() for short in shorts]


def _load(pipeline: Any, warehouse: Warehouse, patience: LockPatience) -> None:
    """Load the extracted rows; after a failed commit, close the DuckDB file and try once more.

    Raises:
        PipelineStepFailed: It could not be loaded.
        DestinationError: The warehouse is not the one that the rows were compared with; they were discarded.
        CheckpointError: It was loaded, but does not count.
    """
    waiting = _pending(pipeline)

    def attempt() -> None:
        with warehouse.kept_open(saving_memory=True):
            if warehouse.has_other_loads(SCHEMA):  # guard: loads-of-others
                pipeline.abort_packages()
                raise DestinationError(
                    f"The newest load of dataset {warehouse.dataset} changed during this run: another run has filled "
                    "it, or an older copy was restored. The rows read were discarded; run again."
                )
            _patiently(pipeline, patience, partial(_load_pending, pipeline))
            warehouse.note_newest(SCHEMA)

    try:
        try:
            attempt()
        except PipelineStepFailed as error:
            if not isinstance(root_cause(error), CommitError):
                raise
            logger.warning("%s; the file is reopened and the load continues", root_cause(error))
            attempt()
    except CheckpointError as failure:
        # Both the rows and the cursors are in the file, and neither can be trusted.
        warehouse.revoke_loads(waiting)  # guard: failed-checkpoint
        raise CheckpointError(f"{failure}. This load does not count; the next run reads its rows again.") from failure


def _load_pending(pipeline: Any) -> None:
    if pipeline.list_extracted_load_packages():
        pipeline.normalize()
    _check_jobs(pipeline, pipeline.load())


def _check_jobs(pipeline: Any, info: Any) -> None:
    """Revoke loads that dlt considers complete although a job failed, as with some of its settings.

    Args:
        pipeline: The pipeline.
        info: dlt's information about the packages; None if there was none.

    Raises:
        OrgxError: A job failed; its cursors do not count.
    """
    packages = [] if info is None else info.load_packages
    failed = [(package.load_id, job) for package in packages for job in package.jobs["failed_jobs"]]
    if not failed:
        return
    warehouse = Warehouse(pipeline)
    try:
        if warehouse.can_be_asked:  # guard: failed-jobs
            warehouse.revoke_loads([load_id for load_id, _ in failed])
    finally:
        warehouse.close()
    reasons = sorted({f"{job.job_file_info.table_name}: {_reason(job.failed_message or '')}" for _, job in failed})
    raise OrgxError(f"Rows were not loaded and do not count; the next run reads them again. {'; '.join(reasons)}")


def _reason(failed_message: str) -> str:
    """Return a destination's message, which follows the last class name in dlt's traceback."""
    return first_words(OrgxError(re.split(r"(?:^|\n)\w+(?:\.\w+)+: ", failed_message)[-1]))


def _conclude(pipeline: Any, report: RunReport, names: Sequence[str], session: ReadSession) -> None:
    """Write the log; then create the marts if their rows were loaded."""
    patience = session.patience
    with ExitStack() as opened:
        warehouse = None
        # Opening and closing a DuckDB file takes longer than either; if it cannot be reached, each reports it.
        with suppress(Exception):
            once = Warehouse(pipeline, patience)
            opened.callback(once.close)
            opened.enter_context(once.kept_open())
            warehouse = once
        _write_log(pipeline, report, names, patience, warehouse)
        if report.has_tables and session.config.marts:
            _renew_marts(pipeline, report, patience)


def _write_log(
    pipeline: Any, report: RunReport, names: Sequence[str], patience: LockPatience, warehouse: Warehouse | None
) -> None:
    """Add one row per table to `sync_log`; if the destination cannot be reached, the next run loads them."""
    promise = ""
    load = partial(_patiently, pipeline, patience, partial(_load_pending, pipeline))
    try:
        _patiently(pipeline, patience, partial(pipeline.extract, sync_log_source(log_rows(report, names))))
        promise = "; the next run writes it"
        if warehouse is None:
            load()
            return
        for shortfall in _load_whole(pipeline, warehouse, load):
            report.messages.append(str(shortfall))
            report.exit_code = worst_exit_code(report.exit_code, 0 if shortfall.mended else 4)
    except Exception as error:
        failure = _explain(pipeline, error)
        report.messages.append(f"sync_log could not be written{promise}: {failure}")
        report.exit_code = worst_exit_code(report.exit_code, failure.exit_code)
    report.settle()


def _renew_marts(pipeline: Any, report: RunReport, patience: LockPatience) -> None:
    """Create the marts if this version's differ from the existing ones."""
    try:
        renew_marts(pipeline, patience)
    except Exception as error:
        failure = explain(error)
        report.messages.append(str(failure))
        report.exit_code = worst_exit_code(report.exit_code, failure.exit_code)
        report.settle()


def renew_marts(pipeline: Any, patience: LockPatience | None = None) -> bool:
    """Create the marts of a pipeline's dataset; return whether anything was written.

    Raises:
        ConfigError: The destination does not support SQL, or denies permission to create them.
        DestinationError: It cannot be reached, or rejects them.
    """
    warehouse = Warehouse(pipeline, patience)
    try:
        return apply_marts(warehouse)
    finally:
        warehouse.close()


def finish_leftovers(pipeline: Any, warehouse: Warehouse, patience: LockPatience) -> list[str]:
    """Load the packages that an earlier run did not load; return messages.

    A package that cannot be loaded at all is discarded: its cursors do not count, so this run reads its rows again.

    Raises:
        OrgxError: The destination cannot be reached, or refuses; the packages are kept for the next run.
    """
    waiting = _pending(pipeline)
    if not waiting:
        return _prove_last(pipeline, warehouse, patience)
    if warehouse.can_be_asked and warehouse.newest_load() > min(waiting):  # guard: older-leftovers
        # Another machine has loaded since: these rows are older than the stored ones.
        pipeline.abort_packages()
        return [
            f"Package {', '.join(waiting)} of an earlier run was discarded: newer data has been loaded from elsewhere. "
            "Its rows are read again now."
        ]
    try:
        shortfalls = _load_or_give_up(pipeline, warehouse, patience)
        loaded = f"Loaded the data left by an earlier run (package {', '.join(waiting)})."
        message = " ".join([loaded, *map(str, shortfalls)])
    except OrgxError as failure:
        if is_mendable(failure):
            raise
        message = f"The data left by an earlier run could not be loaded: {failure}"
    logger.warning("%s", message)
    return [message]


def _prove_last(pipeline: Any, warehouse: Warehouse, patience: LockPatience) -> list[str]:
    """Verify a load that an earlier run completed but did not verify; return messages about repairs."""
    arrival = Arrival(pipeline, warehouse)
    unproven = arrival.unproven()
    if not unproven:
        return []
    shortfalls = _prove(arrival, warehouse, unproven, partial(_load, pipeline, warehouse, patience))
    return [f"A load of an earlier run was verified: {shortfall}" for shortfall in shortfalls]


def _pending(pipeline: Any) -> list[str]:
    return [*pipeline.list_extracted_load_packages(), *pipeline.list_normalized_load_packages()]


def _count(report: RunReport, warehouse: Warehouse) -> None:
    """Count the rows in the warehouse, and compare them with OrgX's total."""
    for name, table in report.tables.items():
        table.rows_in_warehouse = warehouse.count_living(TABLES[name])
    for name, table in report.tables.items():
        comparable = (
            table.error is None
            and table.rows_in_warehouse is not None
            and table.total_reported is not None
            and not TABLES[name].append_only
        )
        visible = (table.rows_in_warehouse or 0) - table.rows_out_of_sight
        if comparable and visible != table.total_reported:
            table.doubt(f"OrgX counts {table.total_reported} rows, the warehouse {visible}")
