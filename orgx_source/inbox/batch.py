"""Processes a batch of events: reads the rows they name, and loads them together with the events.

Holds the lock of a run meanwhile, so that the warehouse has one writer at a time.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from orgx_source.api.client import OrgxClient
from orgx_source.api.envelope import Row
from orgx_source.api.route_reader import row_keys
from orgx_source.config import OrgxConfig, dlt_defaults
from orgx_source.errors import ConfigError, DestinationError, OrgxError
from orgx_source.inbox.events import DOCUMENTED, Event
from orgx_source.marts.apply import apply_marts
from orgx_source.reading.named_rows import Answer, NamedRows, ask_for_rows
from orgx_source.reading.session import ReadSession, Stretch
from orgx_source.rows.column_types import ColumnTypes
from orgx_source.rows.shape import loadable_json
from orgx_source.source import orgx_source, webhook_events_source
from orgx_source.sync import SCHEMA, extract_and_load, one_run_at_a_time, take_up
from orgx_source.tables import TABLES, WEBHOOK_EVENTS
from orgx_source.times import utc_now
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.target import Target

logger = logging.getLogger(__name__)

# A batch holds the lock that a run waits for, so slow requests are retried later.
MAX_WAIT_SECONDS = 10.0
LOCK_SECONDS = 10.0

Publish = Callable[[Any], None]
"""Called with the pipeline after a load."""


@dataclass
class BatchReport:
    """The result of one batch.

    Attributes:
        events: Number of events.
        types: Number per type.
        asked: Table to the number of rows requested; for agents, all.
        returned: Table to the number of rows received.
        written: New and changed rows.
        requests: Requests sent.
        seconds: Duration.
        lags: Seconds from each event's own time to the load of its rows.
        messages: Other events.
    """

    events: int = 0
    types: Counter[str] = field(default_factory=Counter)
    asked: dict[str, int] = field(default_factory=dict)
    returned: dict[str, int] = field(default_factory=dict)
    written: int = 0
    requests: int = 0
    seconds: float = 0.0
    lags: list[float] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.types.most_common())
        asked = ", ".join(f"{self.returned.get(name, 0)} of {count} {name}" for name, count in self.asked.items())
        lag = f"; event to row {middle(self.lags):.1f} s, worst {max(self.lags):.1f} s" if self.lags else ""
        return (
            f"{self.events} {'event' if self.events == 1 else 'events'} ({kinds}): returned {asked or 'nothing'}, "
            f"{self.written} written, {self.requests} requests, {self.seconds:.1f} s{lag}"
        )


def middle(values: Sequence[float]) -> float:
    """Return the median."""
    return sorted(values)[len(values) // 2]


class _Client(OrgxClient):
    """Requests the key's workspace once, not with every batch."""

    remembered: dict[str, Row]

    def bootstrap(self) -> Row:
        """Return the workspace that the key resolves to."""
        if "workspace" not in self.remembered:
            self.remembered["workspace"] = super().bootstrap()
        return self.remembered["workspace"]


class BatchLoader:
    """Loads batches of events into one warehouse."""

    def __init__(
        self,
        config: OrgxConfig,
        target: Target,
        *,
        publish: Publish | None = None,
        make_client: Callable[[OrgxConfig], OrgxClient] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Prepare; sends no request.

        Args:
            config: Key, URL and limits.
            target: The warehouse.
            publish: Called after each batch.
            make_client: Creates the OrgX client of one batch.
            clock: This machine's time in UTC.
        """
        self._config = replace(
            config,
            max_wait=min(config.max_wait, MAX_WAIT_SECONDS),
            lock_timeout=min(config.lock_timeout, LOCK_SECONDS),
        )
        self._target = target
        self._publish = publish
        self._make_client = make_client or self._client
        self._clock = clock
        self._remembered: dict[str, Row] = {}
        self._is_published = True

    def _client(self, config: OrgxConfig) -> OrgxClient:
        client = _Client(config)
        client.remembered = self._remembered
        return client

    def load(self, take: Callable[[], list[Event]], *, rows: bool = True) -> tuple[list[Event], BatchReport]:
        """Load a batch; return its events and its result.

        Args:
            take: Returns the events; called when no run uses the dataset.
            rows: Whether to read the rows they name; otherwise only the events are loaded.

        Raises:
            DatasetTakenError: A run uses the dataset.
            OrgxError: Nothing counts as loaded, and the events can be loaded later.
        """
        began = time.monotonic()
        # A new one for each batch: another process may have loaded since, and dlt's trace of a pipeline grows.
        pipeline = self._target.pipeline()
        with ExitStack() as scope:
            scope.enter_context(dlt_defaults())
            scope.enter_context(one_run_at_a_time(pipeline, as_batch=True))
            events = take()
            report = BatchReport(len(events), Counter(str(event.type) for event in events))
            if events:
                session = ReadSession(
                    self._config, self._make_client(self._config), collect_errors=True, clock=self._clock,
                    stretch=Stretch(),
                )  # fmt: skip
                scope.callback(session.close)
                try:
                    _Batch(pipeline, session, report).run(events, rows=rows)
                except OrgxError:
                    # The key's workspace may change before the next attempt.
                    self._remembered.clear()
                    raise
                self._is_published = self._publish is None
        # It takes the lock itself.
        report.messages += self.publish()
        report.seconds = time.monotonic() - began
        return events, report

    def publish(self) -> list[str]:
        """Publish the loads since the last time; return why that failed, for a later retry."""
        if self._is_published or self._publish is None:
            return []
        try:
            self._publish(self._target.pipeline())
        except OrgxError as error:
            return [str(error)]
        self._is_published = True
        return []


class _Batch:
    """The state of one batch.

    Attributes:
        outcomes: Table and id to the outcome of that row; an empty id stands for the whole table.
        readers: Table to what gives its rows to the load.
    """

    def __init__(self, pipeline: Any, session: ReadSession, report: BatchReport) -> None:
        self._pipeline = pipeline
        self._session = session
        self._report = report
        self.outcomes: dict[tuple[str, str], str] = {}
        self.readers: dict[str, NamedRows] = {}

    def run(self, events: Sequence[Event], *, rows: bool) -> None:
        warehouse, session = self._session.warehouse(self._pipeline), self._session
        warehouse.require_sql("events cannot be loaded into it")
        messages, missing = take_up(self._pipeline, warehouse, session.patience)
        self._report.messages += messages
        if missing:
            raise DestinationError(
                f"{', '.join(missing)} or columns of it were dropped from the warehouse; orgx-sync run recreates them, "
                "and the events wait until then"
            )
        answers = self._ask(events) if rows else {}
        received = [self._row(event, rows=rows) for event in events]
        source = webhook_events_source(received, self._resources(answers, warehouse))
        load_ids, shortfalls = extract_and_load(self._pipeline, source, warehouse, session.patience)
        for name, table in session.reports.items():
            if table.error is not None:
                raise DestinationError(f"{name}: {table.error}")
            self._report.written += table.rows_new + table.rows_changed
        if lost := [shortfall for shortfall in shortfalls if not shortfall.mended]:
            raise DestinationError("; ".join(map(str, lost)))
        loaded_at = session.clock()
        self._note_withheld()
        amended: dict[str, list[str]] = {}
        for event, row in zip(events, received, strict=True):
            if rows and (outcome := self._outcome(event)) != row["outcome"]:
                amended.setdefault(outcome, []).append(event.id)
        with warehouse.kept_open():
            for load_id in load_ids:
                # Only the load shows which rows are withheld.
                for outcome, ids in amended.items():
                    warehouse.amend_load(WEBHOOK_EVENTS, load_id, {"outcome": outcome}, ids)
                warehouse.amend_load(WEBHOOK_EVENTS, load_id, {"loaded_at": loaded_at})
            apply_marts(warehouse)
        self._report.requests = session.client.budget.spent
        self._report.lags = [
            lag
            for event in events
            if event.created_at is not None
            and event.table is not None
            and (lag := (loaded_at - event.created_at).total_seconds()) >= 0
        ]

    def _resources(self, answers: Mapping[str, Answer], warehouse: Warehouse) -> list[Any]:
        """Return the resources of the tables with received rows."""
        if not answers:
            return []
        schemas = self._pipeline.schemas
        known = schemas[SCHEMA].tables if SCHEMA in self._pipeline.schema_names else {}
        for name, answer in answers.items():
            types = ColumnTypes(TABLES[name], known.get(name, {}).get("columns", {}))
            self.readers[name] = NamedRows(self._session, TABLES[name], warehouse, types, answer)
        self._session.open_tables.update(self.readers)
        source = orgx_source(session=self._session).with_resources(*answers)
        return list(source.resources.selected.values())

    def _ask(self, events: Sequence[Event]) -> dict[str, Answer]:
        """Request the rows that events name; return the responses with rows."""
        named: dict[str, dict[str, None]] = {}
        for event in events:
            for name, row_id in event.rows():
                named.setdefault(name, {})[row_id] = None
        answers: dict[str, Answer] = {}
        for name, ids in named.items():
            answer = self._ask_table(name, list(ids))
            if answer is not None and answer.rows:
                answers[name] = answer
        return answers

    def _ask_table(self, name: str, ids: list[str]) -> Answer | None:
        try:
            answer = ask_for_rows(self._session, TABLES[name], ids)
            self._check_key(name)
        except OrgxError as error:
            self._check_key(name)
            if _may_pass(error):
                raise
            self.outcomes |= {(name, row_id): f"not read: {error}" for row_id in ids}
            return None
        came = set(map(row_keys(TABLES[name]).id, answer.rows))
        missing = "not returned by OrgX" if answer.takes_ids else f"{answer.route.name} does not support single rows"
        self.outcomes |= {
            (name, i): "loaded" if i in came or not i else f"{missing}; left to the next run" for i in ids
        }
        self._report.asked[name] = len(answer.rows) if ids == [""] else len(ids)
        self._report.returned[name] = len(answer.rows)
        return answer

    def _note_withheld(self) -> None:
        """Correct the outcomes of rows that were returned and not written."""
        for name, reader in self.readers.items():
            for row_id, why in reader.withheld.items():
                if (name, row_id) in self.outcomes:
                    self.outcomes[name, row_id] = f"not loaded: {why}"
            if reader.withheld and (name, "") in self.outcomes:
                reasons = "; ".join(f"{count} {why}" for why, count in Counter(reader.withheld.values()).items())
                self.outcomes[name, ""] = f"loaded, except rows that are not written: {reasons}"

    def _check_key(self, name: str) -> None:
        """Check whether a 401 means a closed route or an invalid key.

        Raises:
            AuthError: The key is refused everywhere; the events wait until a valid key is set.
        """
        if any(closed.endswith("(401)") for closed in self._session.report(name).closed_routes):
            # Not the cached one.
            OrgxClient.bootstrap(self._session.client)

    def _row(self, event: Event, *, rows: bool) -> dict[str, Any]:
        """Return an event as a row of `webhook_events`."""
        return {
            "id": event.id,
            "type": event.type,
            "created_at": event.created_at,
            "workspace_id": event.workspace_id,
            "received_at": event.received_at,
            "signature_key": event.signature_key,
            "body": None if event.body is None else loadable_json(event.body),
            "table_name": event.table,
            "outcome": self._outcome(event) if rows else "its rows could not be loaded; left to the next run",
            "loaded_at": None,
        }

    def _outcome(self, event: Event) -> str:
        if event.body is None:
            return "its body was damaged in the inbox; left to the next run"
        found = [self.outcomes[row] for row in event.rows() if row in self.outcomes]
        parts = [] if event.type in DOCUMENTED else [f"unknown type {event.type}"]
        parts += list(dict.fromkeys(found)) or ([] if parts else ["it names no row"])
        return "; ".join(parts)


def _may_pass(error: OrgxError) -> bool:
    """Return whether the same request may succeed later, or after a setting was changed."""
    return error.retryable or error.exit_code in (3, 4)


def publisher(target: Target, file: Path, patience_seconds: float) -> Publish:
    """Return a function that publishes a copy of the DuckDB file.

    Raises:
        ConfigError: It is not a DuckDB file, or the path cannot be used for the copy.
    """
    from orgx_source.commands.publish import problem_with, publish
    from orgx_source.warehouse.duckdb_file import LockPatience

    if not target.is_file:
        raise ConfigError("--publish: only a DuckDB file can be published.")
    if problem := problem_with(file, target.database, target.dataset):
        raise ConfigError(f"--publish: {problem}")

    def put(pipeline: Any) -> None:
        publish(pipeline, target.database, file, LockPatience(patience_seconds))

    return put
