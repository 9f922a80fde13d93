"""The parts of dlt that this package builds on although dlt does not promise to keep them.

They are the reason for dlt's upper bound in pyproject.toml. When a new dlt changes one of them, the failing test
names the file to look at.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
import duckdb as driver
import pytest
from dlt.common import exceptions as of_dlt
from dlt.common.configuration import exceptions as of_settings
from dlt.common.destination import Destination
from dlt.common.destination import exceptions as of_any_destination
from dlt.common.pipeline import LoadInfo
from dlt.destinations import duckdb, postgres
from dlt.destinations import exceptions as of_destinations
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.impl.duckdb.duck import DuckDbClient, DuckDbCopyJob
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresCsvCopyJob
from dlt.extract.pipe import Pipe
from dlt.pipeline.exceptions import PipelineStepFailed
from dlt.pipeline.state_sync import bump_pipeline_state_version_if_modified, default_pipeline_state, state_doc

from orgx_source import explain
from orgx_source.warehouse import duckdb_file
from orgx_source.warehouse.stored_file import StoredFile, UnknownFormError

FILE = "orgx_source/warehouse/duckdb_file.py"
COPY = "orgx_source/warehouse/postgres_copy.py"
DATASET = "orgx_source/warehouse/dataset.py"
PIPELINE = "orgx_source/warehouse/pipeline.py"
STORED = "orgx_source/warehouse/stored_file.py"
SYNC = "orgx_source/sync.py"
SOURCE = "orgx_source/source.py"
ARRIVAL = "orgx_source/warehouse/arrival.py"
EXPLAIN = "orgx_source/explain.py"

# A class of dlt, a method that we override or call, its parameters, and the file that does so.
METHODS: list[tuple[type, str, list[str], str]] = [
    (DuckDbSqlClient, "__init__", ["dataset_name", "staging_dataset_name", "credentials", "capabilities"], FILE),
    (DuckDbSqlClient, "catalog_name", ["quote", "casefold"], FILE),
    (DuckDbSqlClient, "open_connection", [], FILE),
    (DuckDbSqlClient, "close_connection", [], FILE),
    (DuckDbSqlClient, "execute_query", ["query", "args", "kwargs"], FILE),
    (DuckDbSqlClient, "begin_transaction", [], FILE),
    (DuckDbSqlClient, "commit_transaction", [], FILE),
    (DuckDbSqlClient, "execute_sql", ["sql", "args", "kwargs"], DATASET),
    (DuckDbSqlClient, "make_qualified_table_name", ["table_name", "quote", "casefold"], DATASET),
    (DuckDbSqlClient, "escape_column_name", ["column_name", "quote", "casefold"], DATASET),
    (DuckDbSqlClient, "has_dataset", [], DATASET),
    (DuckDbSqlClient, "create_dataset", [], DATASET),
    (DuckDbClient, "__init__", ["schema", "config", "capabilities"], FILE),
    (DuckDbClient, "create_load_job", ["table", "file_path", "load_id", "restore"], FILE),
    (DuckDbClient, "initialize_storage", ["truncate_tables"], FILE),
    (DuckDbCopyJob, "__init__", ["file_path"], FILE),
    (DuckDbCopyJob, "run", [], FILE),
    (PostgresClient, "create_load_job", ["table", "file_path", "load_id", "restore"], COPY),
    (PostgresCsvCopyJob, "__init__", ["file_path"], COPY),
    (PostgresCsvCopyJob, "run", [], COPY),
    (postgres, "_raw_capabilities", [], "orgx_source/warehouse/postgres.py"),
    (duckdb, "capabilities", ["config", "naming"], FILE),
    (duckdb, "configuration", ["initial_config", "accept_partial"], PIPELINE),
    (dlt.Pipeline, "list_extracted_load_packages", [], SYNC),
    (dlt.Pipeline, "list_normalized_load_packages", [], SYNC),
    (dlt.Pipeline, "abort_packages", ["load_id", "dry_run"], SYNC),
    (dlt.Pipeline, "list_completed_load_packages", [], ARRIVAL),
    (dlt.Pipeline, "get_load_package_state", ["load_id"], ARRIVAL),
    (dlt.Pipeline, "_get_load_storage", [], ARRIVAL),
    (dlt.Pipeline, "sql_client", ["schema_name"], DATASET),
    (Pipe, "replace_gen", ["gen"], SOURCE),
]
ATTRIBUTES: list[tuple[Any, str, str]] = [
    (DuckDbSqlClient, "native_connection", DATASET),
    (duckdb, "client_class", FILE),
    (duckdb, "spec", FILE),
    (postgres, "client_class", "orgx_source/warehouse/postgres.py"),
    (Destination, "from_reference", PIPELINE),
    (dlt.Pipeline, "state", DATASET),
    (dlt.Pipeline, "schema_names", DATASET),
    (dlt.Pipeline, "schemas", DATASET),
    (dlt.Pipeline, "sync_destination", DATASET),
    (dlt.current, "run_context", PIPELINE),
    (dlt.current, "load_package_state", SOURCE),
    (dlt.current, "resource_state", SOURCE),
    (dlt.current, "source_schema", SOURCE),
    (dlt.mark, "make_hints", SOURCE),
    (Pipe, "gen", SOURCE),
    (Pipe, "steps", SOURCE),
    (LoadInfo, "load_packages", SYNC),
]
# Names that `explain` looks for in the ancestry of an error, and a module in which dlt has such a class.
NAMES = {
    "PipelineStepFailed": sys.modules["dlt.pipeline.exceptions"],
    "ConfigProviderException": of_settings,
    "ConfigurationException": of_settings,
    "MissingDependencyException": of_dlt,
    "DestinationException": of_any_destination,
    "SqlClientNotAvailable": of_any_destination,
    "DestinationConnectionError": of_destinations,
    "InvalidFilesystemLayout": of_destinations,
}


def named(value: Any) -> str:
    name = getattr(value, "__name__", str(value))
    return str(name).removeprefix("dlt.")


@pytest.mark.parametrize(("owner", "name", "expected", "room"), METHODS, ids=named)
def test_a_method_has_the_parameters_we_know(owner: type, name: str, expected: list[str], room: str) -> None:
    method: Callable[..., Any] | None = getattr(owner, name, None)
    assert method is not None, f"dlt's {owner.__name__} no longer has {name}: see {room}"
    found = [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]
    assert found == expected, f"dlt's {owner.__name__}.{name} now takes {found}, not {expected}: see {room}"


@pytest.mark.parametrize(("owner", "name", "room"), ATTRIBUTES, ids=named)
def test_an_attribute_is_there(owner: Any, name: str, room: str) -> None:
    known = hasattr(owner, name) or name in inspect.get_annotations(owner)
    assert known, f"dlt's {named(owner)} no longer has {name}: see {room}"


def test_our_overrides_take_what_dlts_methods_take() -> None:
    pairs = [(duckdb_file.FileClient, DuckDbSqlClient), (duckdb_file._Client, DuckDbClient)]
    pairs += [(duckdb_file._CopyJob, DuckDbCopyJob), (duckdb_file.duckdb_file, duckdb)]
    for ours, theirs in pairs:
        for name, function in vars(ours).items():
            if inspect.isfunction(function) and hasattr(theirs, name):
                of_ours = list(inspect.signature(function).parameters)
                of_theirs = list(inspect.signature(getattr(theirs, name)).parameters)
                assert of_ours == of_theirs, f"{ours.__name__}.{name} overrides another signature of dlt's: see {FILE}"


@pytest.mark.parametrize("name", NAMES)
def test_an_error_that_is_told_by_its_name_has_that_name(name: str) -> None:
    assert hasattr(NAMES[name], name), f"{NAMES[name].__name__} no longer has {name}: see {EXPLAIN}"
    assert f'"{name}"' in inspect.getsource(explain), f"{EXPLAIN} does not look for {name}: take it off this list"


def test_what_dlt_wraps_is_under_the_names_that_we_follow() -> None:
    cause = OSError("no route")
    said = f"dlt keeps the cause of an error under another name than we follow: see {EXPLAIN}"
    connection = of_destinations.DestinationConnectionError("duckdb", "orgx", "no route", cause)
    assert getattr(connection, "inner_exc", None) is cause, said
    transient = of_destinations.DatabaseTransientException(cause)
    assert getattr(transient, "dbapi_exception", None) is cause, f"{said} and {FILE}"
    step = PipelineStepFailed(dlt.pipeline("canary"), "load", "1", cause)
    assert (getattr(step, "step", None), getattr(step, "exception", None)) == ("load", cause), said


@pytest.fixture
def client(tmp_path: Path) -> Iterator[DuckDbSqlClient]:
    class Client(DuckDbSqlClient):
        commits = 0

        def commit_transaction(self) -> None:
            self.commits += 1
            super().commit_transaction()

    credentials = DuckDbCredentials(str(tmp_path / "x.duckdb"), global_config={"preserve_insertion_order": False})
    credentials.resolve()
    client = Client("orgx", "orgx_staging", credentials, duckdb().capabilities())
    client.open_connection()
    yield client
    client.close_connection()


def test_a_transaction_ends_with_the_commit_that_we_override(client: Any) -> None:
    with client.begin_transaction():
        client.execute_sql("create table x (id integer)")
    assert client.commits == 1, f"dlt's begin_transaction does not call commit_transaction: see {FILE}"


def test_a_client_keeps_its_connection_and_a_job_its_client_where_we_look(client: Any) -> None:
    assert client._conn is client.native_connection, f"dlt's client keeps its connection elsewhere: see {FILE}"
    assert Path(client.credentials.database).name == "x.duckdb", f"dlt names its file otherwise: see {FILE}"
    job = DuckDbCopyJob(str(Path("x/tasks.1.0.parquet")))
    assert hasattr(job, "_job_client"), f"dlt's copy job keeps its client elsewhere: see {FILE}"


def test_dlt_stores_its_state_in_the_form_that_status_reads(tmp_path: Path) -> None:
    state = default_pipeline_state()
    state["sources"] = {"orgx": {"resources": {"tasks": {"cursor": "2026-04-14"}}}}
    state["pipeline_name"] = "orgx"
    bump_pipeline_state_version_if_modified(state)
    document: Any = state_doc(state, "1")
    assert {"state", "_dlt_load_id"} <= document.keys(), f"_dlt_pipeline_state has other columns: see {STORED}"
    with driver.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("create schema orgx; create table orgx._dlt_loads as select '1' as load_id, 0 as status")
        connection.execute("create table orgx._dlt_pipeline_state (state varchar, _dlt_load_id varchar)")
        connection.execute("insert into orgx._dlt_pipeline_state values (?, '1')", [document["state"]])
    stored = StoredFile(tmp_path / "x.duckdb", "orgx")
    try:
        assert stored.states() == {"tasks": {"cursor": "2026-04-14"}}
    except UnknownFormError as error:
        pytest.fail(f"dlt stores its state in another form than base64 of compressed JSON ({error}): see {STORED}")
    finally:
        stored.close()
