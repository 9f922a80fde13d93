"""One run: what an earlier run left behind, then read, load, count and report.

The command and ``pipelines/nightly.py`` call this; whoever has a pipeline of their own can go without it.
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
from orgx_source.warehouse.pipeline import check_tested, make_pipeline
from orgx_source.warehouse.run_lock import one_run_at_a_time

__all__ = ["make_pipeline", "one_run_at_a_time", "renew_marts", "run_sync"]

logger = logging.getLogger(__name__)

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

    Never raises for what OrgX, the network or the destination do: the report says it, table by table.

    Args:
        config: Key, address, and how much may be spent.
        pipeline: From `make_pipeline`, or any dlt pipeline.
        tables: Names of the tables to sync; all when not given.
        client: Reads OrgX, and is closed at the end; made from the settings when not given.
        on_progress: Called from several threads.
        on_wait: Called from several threads.
        stretch: How much is read before it is loaded: what a kill can cost.
        clock: This machine's time in UTC.
        untested: Whether to fill a destination other than DuckDB and PostgreSQL, whose rows may differ then.
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
        with _ending(report, session, clock):
            report.messages += filter(None, [check_tested(pipeline, untested=untested)])  # guard: untested
            _bring_up_to_date(pipeline, session, names, report, scope)
            for name in closed:
                session.report(name).note = NOT_OPEN_TO_LOGIN  # guard: closed-to-a-login
        if report.reached:
            _conclude(pipeline, report, [*names, *(name for name in closed if name in report.tables)], session)
    return report


@contextmanager
def _ending(report: RunReport, session: ReadSession, clock: Callable[[], datetime]) -> Iterator[None]:
    """Let no failure out but into the report, and complete that however it ends."""
    try:
        yield
    except Exception as error:
        failure = explain(error)
        report.error, report.exit_code = str(failure), failure.exit_code
    finally:
        session.close()
        report.finish(session.client.budget, clock())


def _all_of(config: OrgxConfig, *, at_best: bool = False) -> list[str]:
    """Return the tables that a run fills when none is named; ``at_best`` those that it would fill with a key."""
    doors = REST if at_best else config.doors
    return [
        *config.table_names(None, served_tables(doors)),
        *([MEMORY_HITS] if config.memory and "rest" in doors else []),
    ]


def _login_warnings(config: OrgxConfig) -> list[str]:
    if "mcp" not in config.doors or config.mcp_token:
        return []
    with suppress(OrgxError):
        # What is wrong with the file is said by whoever needs it.
        if (said := describe_login(config.mcp_url, time.time())) is not None and said[1]:
            return [f"{said[0]}."]
    return []


def _bring_up_to_date(
    pipeline: Any, session: ReadSession, names: Sequence[str], report: RunReport, scope: ExitStack
) -> None:
    """Load what is left over, read and load the tables, and count what is there then.

    Args:
        pipeline: The pipeline.
        session: What its tables share.
        names: The tables.
        report: Gets what was done.
        scope: Keeps other runs out until it ends.
    """
    if pipeline.refresh:  # guard: no-refresh-in-a-run
        raise ConfigError(
            f"The pipeline has refresh={pipeline.refresh!r}, and each step of a run would drop what the one before has "
            "loaded. Make it without; full=True (--full) reads everything again."
        )
    scope.enter_context(one_run_at_a_time(pipeline, patience=session.config.lock_timeout))  # guard: one-run-at-a-time
    warehouse = session.warehouse(pipeline)
    # Asked for meanwhile: the first answer, and the connection to OrgX with it, takes a while.
    session.executor.submit(session.workspace)
    # Before the state is fetched: where nothing was ever loaded, dlt takes that for a reason to begin anew.
    report.messages += finish_leftovers(pipeline, warehouse, session.patience)  # guard: leftovers-are-loaded
    # Brings the state that is stored with the data to a machine that has none.
    _patiently(pipeline, session.patience, pipeline.sync_destination)
    report.reached = True
    session.check_workspace()  # guard: workspace-out-of-sight
    messages, refusals = make_missing(pipeline, session, warehouse)
    report.messages += messages
    remaining = [name for name in names if name in TABLES]
    for refusal in refusals:
        if table_of(refusal.table) in remaining:
            remaining = session.read_again(remaining, table_of(refusal.table), refusal)
    _read_and_load(pipeline, session, remaining, warehouse)
    with warehouse.kept_open():
        # Where nothing could ever be read there is nothing to see.
        report.has_tables = any(map(warehouse.columns, TABLES))
        _count(report, warehouse)
        report.messages += warehouse.describe_triggers(TABLES)
        warehouse.make_views(TABLES[name] for name in names if name in TABLES)
    if MEMORY_HITS in names:
        _remember(pipeline, session, warehouse, report)


def _remember(pipeline: Any, session: ReadSession, warehouse: Warehouse, report: RunReport) -> None:
    """Ask the saved searches, and add what they find; what is wrong with them is theirs alone."""
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


def make_missing(
    pipeline: Any, session: ReadSession, warehouse: Warehouse
) -> tuple[list[str], list[TableRefusedError]]:
    """Make tables and columns anew that somebody has dropped.

    dlt makes a table only when its schema changes, and would fail at what is gone every night.

    Returns:
        What was made, in sentences, and what the destination refused to make.
    """
    if not warehouse.can_be_asked or SCHEMA not in pipeline.schema_names:
        return [], []
    tables = pipeline.schemas[SCHEMA].data_tables(seen_data_only=True)
    wanted = {
        table["name"]: [name for name, hints in table["columns"].items() if hints.get("data_type")] for table in tables
    }
    missing = warehouse.missing(wanted)
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
    """Make what is missing of each table, and yield the refusals."""
    with pipeline.destination_client(SCHEMA) as client:
        for name in names:
            try:
                client.update_stored_schema(only_tables=[name], force=True)
            except TableRefusedError as refusal:
                mend = "give a renamed column its name back, or drop the table: it is read in full then"
                yield TableRefusedError(name, f"{refusal}. The owner of {name} must {mend}.")


def _read_and_load(pipeline: Any, session: ReadSession, names: Sequence[str], warehouse: Warehouse) -> None:
    """Read the tables and load them, in stretches: what one has loaded, no later failure takes away."""
    remaining = list(names)
    while remaining:
        session.begin_stretch()
        source = orgx_source(session=session).with_resources(*remaining)
        _patiently(pipeline, session.patience, partial(pipeline.extract, source))
        try:
            shortfalls = _load_or_give_up(pipeline, warehouse, session.patience)
        except TableRefusedError as refusal:
            if table_of(refusal.table) not in remaining:
                raise
            # What was in the package is read again, but for what would fail again.
            remaining = session.read_again(remaining, table_of(refusal.table), refusal)
            continue
        for shortfall in shortfalls:
            report = session.report(table_of(shortfall.table))
            (report.mended if shortfall.mended else report.doubt)(str(shortfall))
        remaining = [name for name in remaining if name in session.open_tables]


def take_up(pipeline: Any, warehouse: Warehouse, patience: LockPatience) -> list[str]:
    """Load what an earlier run left behind, and fetch the state that is stored with the data; return what was done."""
    # Before the state is fetched: where nothing was ever loaded, dlt takes that for a reason to begin anew.
    messages = finish_leftovers(pipeline, warehouse, patience)
    _patiently(pipeline, patience, pipeline.sync_destination)
    return messages


def extract_and_load(
    pipeline: Any, source: Any, warehouse: Warehouse, patience: LockPatience
) -> tuple[list[str], list[Shortfall]]:
    """Read a source and load it, as a run does.

    Returns:
        The ids of the loads, and the tables that did not hold then what was loaded.

    Raises:
        OrgxError: It could not be loaded.
    """
    _patiently(pipeline, patience, partial(pipeline.extract, source))
    load_ids = _pending(pipeline)
    return load_ids, _load_or_give_up(pipeline, warehouse, patience)


def _patiently(pipeline: Any, patience: LockPatience, step: Callable[[], Any]) -> None:
    """Take a step, and while somebody else has the DuckDB file open, wait and go on where it stopped."""
    while True:
        try:
            step()
            return
        except PipelineStepFailed as error:
            root = root_cause(error)
            if isinstance(root, KeyboardInterrupt):
                # dlt takes it for a failure of the step.
                raise root from None
            if not patience.wait(root):
                raise
            if error.step in ("normalize", "load"):
                step = partial(_load_pending, pipeline)


def _load_or_give_up(pipeline: Any, warehouse: Warehouse, patience: LockPatience) -> list[Shortfall]:
    """Load what was read. What fails and would fail again is given up: nothing may wait behind it, the log least.

    Returns:
        Tables that did not hold then what was loaded.

    Raises:
        TableRefusedError: It could not be loaded because of one table; the package was given up.
        OrgxError: It could not be loaded. No cursor counts whose load did not arrive: the next run reads it again.
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
    """Load what was extracted, and look whether it arrived: what did not is loaded once more, or counts no longer.

    Args:
        pipeline: The pipeline.
        warehouse: Its dataset.
        load: Loads everything that waits.

    Returns:
        Tables that did not hold then what was loaded.
    """
    load_ids = _pending(pipeline)
    load()
    return _prove(Arrival(pipeline, warehouse), warehouse, load_ids, load)


def _prove(
    arrival: Arrival, warehouse: Warehouse, load_ids: Sequence[str], load: Callable[[], None]
) -> list[Shortfall]:
    """Look whether loads arrived, and do those once more that did not; see `_load_whole`."""
    found = arrival.shortfalls(load_ids)
    if not found:
        arrival.settle(load_ids)
        return []
    logger.warning("%s", "; ".join(map(str, chain(*found.values()))))
    # Every one of them, whatever comes of the others.
    if any([arrival.take_back(load_id) for load_id in found]):
        load()
    still = arrival.shortfalls(list(found))
    if still:
        warehouse.revoke_loads(list(still))
    arrival.settle(load_ids)
    return [replace(short, mended=load_id not in still) for load_id, shorts in found.items() for short in shorts]


def _load(pipeline: Any, warehouse: Warehouse, patience: LockPatience) -> None:
    """Load what was extracted; after a commit that failed once more, when the DuckDB file was closed in between.

    Raises:
        PipelineStepFailed: It could not be loaded.
        CheckpointError: It was, but does not count.
    """
    waiting = _pending(pipeline)

    def attempt() -> None:
        with warehouse.kept_open(saving_memory=True):
            _patiently(pipeline, patience, partial(_load_pending, pipeline))

    try:
        try:
            attempt()
        except PipelineStepFailed as error:
            if not isinstance(root_cause(error), CommitError):
                raise
            logger.warning("%s; the file is reopened and the load continues", root_cause(error))
            attempt()
    except CheckpointError as failure:
        # Both the rows and the cursors are in the file, and neither is to be believed.
        warehouse.revoke_loads(waiting)  # guard: failed-checkpoint
        raise CheckpointError(f"{failure}. This load does not count; the next run reads its rows again.") from failure


def _load_pending(pipeline: Any) -> None:
    if pipeline.list_extracted_load_packages():
        pipeline.normalize()
    _check_jobs(pipeline, pipeline.load())


def _check_jobs(pipeline: Any, info: Any) -> None:
    """Take back what dlt calls loaded although a job of it failed, as it does where its settings say so.

    Args:
        pipeline: The pipeline.
        info: What dlt says of the packages that it took up; None when there was none.

    Raises:
        OrgxError: A job failed; no cursor counts that came with it.
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
    """Return what a destination said: it stands behind the last class name of the stack that dlt keeps."""
    return first_words(OrgxError(re.split(r"(?:^|\n)\w+(?:\.\w+)+: ", failed_message)[-1]))


def _conclude(pipeline: Any, report: RunReport, names: Sequence[str], session: ReadSession) -> None:
    """Write what was done into the log; then make the marts, where the rows that they show were loaded."""
    patience = session.patience
    with ExitStack() as opened:
        warehouse = None
        # Opening and closing a DuckDB file takes longer than either; where it is out of reach, each says so.
        with suppress(Exception):
            warehouse = Warehouse(pipeline, patience)
            opened.callback(warehouse.close)
            opened.enter_context(warehouse.kept_open())
        _write_log(pipeline, report, names, patience, warehouse)
        if report.has_tables and session.config.marts:
            _renew_marts(pipeline, report, patience)


def _write_log(
    pipeline: Any, report: RunReport, names: Sequence[str], patience: LockPatience, warehouse: Warehouse | None
) -> None:
    """Add one row per table to `sync_log`; where the destination is out of reach, the next run brings it there."""
    promise = ""
    load = partial(_patiently, pipeline, patience, partial(_load_pending, pipeline))
    try:
        _patiently(pipeline, patience, partial(pipeline.extract, sync_log_source(log_rows(report, names))))
        promise = " now, the next run does it"
        if warehouse is None:
            load()
            return
        for shortfall in _load_whole(pipeline, warehouse, load):
            report.messages.append(str(shortfall))
            report.exit_code = worst_exit_code(report.exit_code, 0 if shortfall.mended else 4)
    except Exception as error:
        failure = explain(error)
        report.messages.append(f"sync_log could not be written{promise}: {failure}")
        report.exit_code = worst_exit_code(report.exit_code, failure.exit_code)
    report.settle()


def _renew_marts(pipeline: Any, report: RunReport, patience: LockPatience) -> None:
    """Make the views that answer questions, where this version's differ from those that are there."""
    try:
        renew_marts(pipeline, patience)
    except Exception as error:
        failure = explain(error)
        report.messages.append(str(failure))
        report.exit_code = worst_exit_code(report.exit_code, failure.exit_code)
        report.settle()


def renew_marts(pipeline: Any, patience: LockPatience | None = None) -> bool:
    """Make the marts of a pipeline's dataset; return whether anything had to be written.

    Raises:
        ConfigError: The destination answers no SQL, or gives no right to make them.
        DestinationError: It cannot be reached, or refuses them.
    """
    warehouse = Warehouse(pipeline, patience)
    try:
        return apply_marts(warehouse)
    finally:
        warehouse.close()


def finish_leftovers(pipeline: Any, warehouse: Warehouse, patience: LockPatience) -> list[str]:
    """Load the packages that an earlier run did not get to load; return what was done, in sentences.

    A package that cannot be loaded at all is given up: no cursor counts whose load did not arrive, so this run
    reads again what was in it.

    Raises:
        OrgxError: The destination cannot be reached, or refuses; the packages stay for the next run.
    """
    waiting = _pending(pipeline)
    if not waiting:
        return _prove_last(pipeline, warehouse, patience)
    if warehouse.can_be_asked and warehouse.newest_load() > min(waiting):  # guard: older-leftovers
        # Another machine has loaded since: these rows are older than what is there.
        pipeline.abort_packages()
        return [
            f"Package {', '.join(waiting)} of an earlier run was discarded: newer data has been loaded from elsewhere. "
            "Its rows are read again now."
        ]
    try:
        shortfalls = _load_or_give_up(pipeline, warehouse, patience)
        loaded = f"Loaded what an earlier run left behind (package {', '.join(waiting)})."
        message = " ".join([loaded, *map(str, shortfalls)])
    except OrgxError as failure:
        if is_mendable(failure):
            raise
        message = f"What an earlier run left behind could not be loaded: {failure}"
    logger.warning("%s", message)
    return [message]


def _prove_last(pipeline: Any, warehouse: Warehouse, patience: LockPatience) -> list[str]:
    """Look at a load that an earlier run completed, when that run ended before it could; return what was mended."""
    arrival = Arrival(pipeline, warehouse)
    unproven = arrival.unproven()
    if not unproven:
        return []
    shortfalls = _prove(arrival, warehouse, unproven, partial(_load, pipeline, warehouse, patience))
    return [f"A load of an earlier run was verified: {shortfall}" for shortfall in shortfalls]


def _pending(pipeline: Any) -> list[str]:
    return [*pipeline.list_extracted_load_packages(), *pipeline.list_normalized_load_packages()]


def _count(report: RunReport, warehouse: Warehouse) -> None:
    """Count what is in the warehouse now, and hold it against what OrgX counts."""
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
