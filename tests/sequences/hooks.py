"""Hooks into a run: moments at which it can be killed, failures of the destination, and parts to skip for speed."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import dlt
import duckdb
from dlt.common.configuration.specs import BaseConfiguration, base_configuration
from dlt.common.destination.client import RunnableLoadJob
from dlt.destinations.exceptions import DatabaseTransientException
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient
from dlt.destinations.job_client_impl import SqlJobClientBase, SqlLoadJob
from dlt.load.load import Load

from orgx_source.tables import TABLES, Column, Table
from tests.sequences.organisation import COLUMNS, IN_PLAY
from tests.sequences.troubles import KilledError, Plan

HISTORIES = frozenset(f"{table}_history" for table in IN_PLAY)
ONE_AT_A_TIME = {"LOAD__WORKERS": "1", "EXTRACT__WORKERS": "1", "NORMALIZE__WORKERS": "1"}


class Hooks:
    """Hooks into one run: moments at which it can be killed, refused loads, and silent losses."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._left = dict([plan.kill] if plan.kill else [])
        self._failing = dict([plan.failing] if plan.failing else [])
        self._tampering = plan.tampering
        self._lock = threading.Lock()
        self.dead = False

    def pass_moment(self, kind: str) -> None:
        """Mark a moment: before a request, or at the start or end of a write.

        Raises:
            KilledError: The run ends here.
        """
        with self._lock:
            if kind in self._left:
                self._left[kind] -= 1
                self.dead |= self._left[kind] <= 0
        if self.dead:
            raise KilledError

    def refuses(self, kind: str) -> bool:
        """Return whether the destination refuses this time."""
        with self._lock:
            self._failing[kind] = self._failing.get(kind, 0) - 1
            return self._failing[kind] == 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Hook into dlt's writing."""
        managed, complete, sql_job = RunnableLoadJob.run_managed, SqlJobClientBase.complete_load, SqlLoadJob.run
        submit = Load.submit_job

        def run_managed(job: Any, *args: Any) -> None:
            self.pass_moment("write")
            managed(job, *args)
            self.pass_moment("write")

        def submit_job(load: Any, *args: Any, **options: Any) -> Any:
            if self.dead:
                raise KilledError
            job = submit(load, *args, **options)
            # dlt catches whatever a job raises.
            if self.dead:
                raise KilledError
            return job

        def complete_load(client: Any, load_id: str) -> None:
            self.pass_moment("write")
            if self.refuses("load"):
                raise duckdb.IOException("the network is gone")
            complete(client, load_id)
            self.pass_moment("write")

        def run_sql_job(job: Any) -> None:
            sql_job(job)
            table = job.job_file_info().table_name
            if self._tampering and (table in HISTORIES if self._tampering[1] == "history" else table in IN_PLAY):
                self._tamper(job, table, self._tampering[0])

        with ExitStack() as stack:
            for place, name, hook in (
                (RunnableLoadJob, "run_managed", run_managed),
                (Load, "submit_job", submit_job),
                (SqlJobClientBase, "complete_load", complete_load),
                (SqlLoadJob, "run", run_sql_job),
                (DuckDbSqlClient, "commit_transaction", self._commit(DuckDbSqlClient)),
                (Psycopg2SqlClient, "commit_transaction", self._commit(Psycopg2SqlClient)),
            ):
                stack.enter_context(mock.patch.object(place, name, hook))
            yield

    def _commit(self, kind: Any) -> Any:
        commit = kind.commit_transaction

        def commit_transaction(client: Any) -> None:
            if self.refuses("commit"):
                client.rollback_transaction()
                text = "TransactionContext Error: Failed to commit: out of memory"
                raise DatabaseTransientException(duckdb.TransactionException(text))
            commit(client)

        return commit_transaction

    def _tamper(self, job: Any, table: str, what: str) -> None:
        """Lose or duplicate some rows of the load."""
        client = job._job_client.sql_client
        # A merge uses the names of the staging dataset.
        with client.with_alternative_dataset_name("orgx"):
            name = client.make_qualified_table_name(table)
        newest = f"_dlt_load_id = (select max(_dlt_load_id) from {name})"
        ids = [row[0] for row in client.execute_sql(f"select distinct id from {name} where {newest} order by id") or ()]
        if not ids:
            return
        with client.begin_transaction():
            if what != "double":
                client.execute_sql(f"delete from {name} where {newest} and id = '{ids[0]}'")
            if what != "lose":
                # A swap keeps the count, like a failed commit that is repeated in the same DuckDB instance.
                client.execute_sql(f"insert into {name} select * from {name} where {newest} and id = '{ids[-1]}'")
        self._tampering = None


# Work that dlt repeats in a run with the same result: a third of a small run's time.
REPEATED = (
    ("dlt.common.schema.schema.validate_dict", lambda *args, **options: None),
    ("dlt.common.normalizers.json.relational.validate_dict", lambda *args, **options: None),
    ("dlt.common.schema.utils.validate_stored_schema", lambda *args, **options: None),
    ("yaml.dump", lambda *args, **options: ""),
    (
        "dlt.common.configuration.specs.base_configuration.BaseConfiguration.get_resolvable_fields",
        classmethod(cache(BaseConfiguration.get_resolvable_fields.__func__)),
    ),
)


def _sequential(*args: Any, parallelized: bool = False, **options: Any) -> Any:
    """Create a resource that is read in the run's own thread, so that the same sequence has the same result."""
    return _make_resource(*args, **options)


_make_resource = dlt.resource


@contextmanager
def small_product() -> Iterator[None]:
    """Skip what sequences do not verify: other tables and columns, the marts and the log."""
    kept = {name: replace(TABLES[name], columns=_in_play(TABLES[name])) for name in ("workspaces", *IN_PLAY)}
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, ONE_AT_A_TIME))
        stack.enter_context(mock.patch.dict(TABLES, {name: kept[name] for name in TABLES if name in kept}, clear=True))
        stack.enter_context(mock.patch("dlt.resource", _sequential))
        stack.enter_context(mock.patch("orgx_source.sync.renew_marts", lambda *args: False))
        stack.enter_context(mock.patch("orgx_source.sync._write_log", lambda *args: None))
        for place, substitute in REPEATED:
            stack.enter_context(mock.patch(place, substitute))
        for function in (base_configuration.is_secret_hint, base_configuration.extract_inner_hint):
            for module in [module for name, module in sys.modules.items() if name.startswith("dlt.")]:
                if vars(module).get(function.__name__) is function:
                    stack.enter_context(mock.patch.object(module, function.__name__, cache(function)))
        yield


def _in_play(table: Table) -> tuple[Column, ...]:
    return tuple(column for column in table.columns if column.name in COLUMNS)
