"""Puts a copy of the DuckDB file where dashboards read: all of a run or nothing of it, under whoever reads there.

DuckDB makes the copy, in one transaction. A reader that has the older copy open goes on reading that one, which has
lost its name but not its content; whoever opens the file anew gets the new one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from orgx_source.errors import DestinationError, PublishError
from orgx_source.explain import describe_trouble, name_lock_holder
from orgx_source.files import is_plain, whole_file
from orgx_source.marts.apply import marts_dataset
from orgx_source.sync import one_run_at_a_time, renew_marts
from orgx_source.warehouse.dialect import DUCKDB_FILE
from orgx_source.warehouse.duckdb_file import LockPatience
from orgx_source.warehouse.sql_names import names_in, replace
from orgx_source.warehouse.target import Target, is_database

# The DuckDB inside a dashboard is often older than ours, and refuses the format that ours writes by default.
READABLE_SINCE = "v1.0.0"
# Databases that DuckDB has already, or cannot tell from a schema.
NOT_NAMES = frozenset({"main", "temp", "system"})


def problem_with(file: Path, working: Path, dataset: str) -> str | None:
    """Return why a file cannot take the copy of a working file, as far as that is known beforehand; else None.

    Args:
        file: Where the copy shall be.
        working: The DuckDB file that runs fill.
        dataset: Its dataset.
    """
    if problem := _problem_with_place(file):
        return problem
    if file.resolve() == working.resolve() or (file.exists() and working.exists() and file.samefile(working)):
        return f"{file} is the database that the run itself fills; name another file"
    name = _catalog(file).lower()
    if name in ("", *NOT_NAMES):
        return f"DuckDB cannot call a database {name!r}, as it would that in {file.name}; choose another name"
    if name != _catalog(working).lower() and name in (dataset.lower(), marts_dataset(dataset).lower()):
        return (
            f"DuckDB would call {file.name} by the name of a dataset in it, {name}, and could not tell one from the "
            f"other; choose another name, such as {dataset}_published.duckdb"
        )
    return None


def _problem_with_place(file: Path) -> str | None:
    try:
        if not is_plain(file):
            return f"{file} is a pipe or a device, and a database needs a plain file"
        place = file.resolve()
        if not place.parent.is_dir():
            return f"the folder {place.parent} does not exist"
        if not os.access(place.parent, os.W_OK | os.X_OK):
            return f"nothing can be written into the folder {place.parent}"
        if place.exists() and place.stat().st_size and not is_database(place):
            return f"{file} already exists and is not a DuckDB file, so it is left alone"
    except OSError as error:
        return f"{file} cannot be used: {error.strerror or error}"
    return None


def publish(pipeline: Any, working: Path, file: Path, patience: LockPatience) -> None:
    """Put a copy of a working file in place of another file, atomically.

    Args:
        pipeline: The pipeline that fills the working file.
        working: A DuckDB file.
        file: Where the copy shall be; an older copy is replaced, and stays when anything fails.
        patience: How long to wait for the working file when another process has it open.

    Raises:
        PublishError: It cannot be copied, written or put in place.
        DestinationError: The working file is open elsewhere, or what was read is not loaded yet.
    """
    try:
        with one_run_at_a_time(pipeline):
            if pipeline.has_pending_data:
                raise DestinationError("Not everything that was read is loaded; the next run does that.")
            # DuckDB calls a database by its file name up to the first dot: the copy has its later name from the start.
            with whole_file(file.resolve(), durable=True, log=".wal") as unfinished:
                _copy(working, unfinished, pipeline.dataset_name, patience)
    except DestinationError as error:
        raise DestinationError(f"{file} was not published and is unchanged. {error}") from None
    except (PublishError, duckdb.Error, OSError) as error:
        system = error.strerror if isinstance(error, OSError) else None
        reason = system or " ".join(str(error).split())[:300]
        raise PublishError(
            f"{file} was not published and is unchanged; the data is loaded: {reason}. Fix that, then run again."
        ) from None


def _catalog(file: Path) -> str:
    return file.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class _View:
    """A view as DuckDB stores it.

    Attributes:
        schema: Where it is.
        name: Its name.
        sql: ``CREATE VIEW schema.name AS ...``.
        comment: What is said about it.
        columns: Column name to what is said about it.
    """

    schema: str
    name: str
    sql: str
    comment: str | None
    columns: Mapping[str, str]

    def path(self, catalog: str) -> str:
        """Return its name in a database."""
        return ".".join(DUCKDB_FILE.quote(part) for part in (catalog, self.schema, self.name))


def _copy(working: Path, unfinished: Path, dataset: str, patience: LockPatience) -> None:
    """Write a copy that answers under its own name whatever the original answers under the other."""
    old, new = _catalog(working), _catalog(unfinished)
    renamed = old.lower() != new.lower()
    source = old if renamed else f"{old}_working"
    with _opened(unfinished) as connection:
        _attach(connection, working, source, patience)
        connection.execute(f"copy from database {DUCKDB_FILE.quote(source)} to {DUCKDB_FILE.quote(new)}")
        views = _views(connection, new) if renamed else []
        answering = [view for view in views if _answers(connection, view, source)]
        connection.execute(f"detach {DUCKDB_FILE.quote(source)}")
    if not renamed:
        return
    # Before all others, and not from what DuckDB prints of them: 1.4 prints some that it does not understand itself.
    renew_marts(Target(dataset=dataset, database=unfinished).pipeline())
    with _opened(unfinished) as connection:
        _remake_views(connection, old, new)
        for view in answering:
            if not _answers(connection, view, new):
                raise PublishError(f"the view {view.schema}.{view.name} would not answer in a file of that name")


@contextmanager
def _opened(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(str(file), config={"storage_compatibility_version": READABLE_SINCE})
    try:
        yield connection
        # Closing writes what is left too, but says nothing when that fails.
        connection.execute("checkpoint")
    finally:
        connection.close()


def _attach(connection: duckdb.DuckDBPyConnection, working: Path, name: str, patience: LockPatience) -> None:
    """Open the working file to read, as others may meanwhile.

    Never opened as a plain file: closing that would take DuckDB's lock off it, as POSIX locks go.
    """
    while True:
        try:
            connection.execute(
                f"attach {DUCKDB_FILE.literal(str(working.resolve()))} as {DUCKDB_FILE.quote(name)} (read_only)"
            )
            return
        except duckdb.Error as error:
            if not patience.wait(error):
                if name_lock_holder(error):
                    raise DestinationError(describe_trouble(error)) from None
                raise


def _views(connection: duckdb.DuckDBPyConnection, catalog: str) -> list[_View]:
    described: dict[tuple[str, str], dict[str, str]] = {}
    for schema, table, column, comment in connection.execute(
        "select schema_name, table_name, column_name, comment from duckdb_columns() "
        "where database_name = ? and comment is not null",
        [catalog],
    ).fetchall():
        described.setdefault((schema, table), {})[column] = comment
    found = connection.execute(
        "select schema_name, view_name, sql, comment from duckdb_views() where database_name = ? and not internal",
        [catalog],
    ).fetchall()
    return [
        _View(schema, name, sql, comment, described.get((schema, name), {})) for schema, name, sql, comment in found
    ]


def _answers(connection: duckdb.DuckDBPyConnection, view: _View, catalog: str) -> bool:
    try:
        connection.execute(f"describe select * from {view.path(catalog)}")
        return True
    except duckdb.Error:
        return False


def _remake_views(connection: duckdb.DuckDBPyConnection, old: str, new: str) -> None:
    """Make the views anew that name the database, with what is said about them, each after those that it reads."""
    schemas = {name.lower() for (name,) in connection.execute("select schema_name from duckdb_schemas()").fetchall()}
    found = _views(connection, new)
    waiting = [(view, sql) for view in found if (sql := without_catalog(view.sql, old, schemas)) != view.sql]
    while waiting:
        refused = [(view, sql) for view, sql in waiting if not _remake(connection, view, sql)]
        if len(refused) == len(waiting):
            # Views that did not answer before either; of the others, whoever called tells.
            return
        waiting = refused


def _remake(connection: duckdb.DuckDBPyConnection, view: _View, sql: str) -> bool:
    path = f"{DUCKDB_FILE.quote(view.schema)}.{DUCKDB_FILE.quote(view.name)}"
    try:
        connection.execute(sql.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
    except duckdb.Error:
        return False
    if view.comment is not None:
        connection.execute(f"comment on view {path} is {DUCKDB_FILE.literal(view.comment)}")
    for column, comment in view.columns.items():
        connection.execute(f"comment on column {path}.{DUCKDB_FILE.quote(column)} is {DUCKDB_FILE.literal(comment)}")
    return True


def without_catalog(sql: str, catalog: str, schemas: Collection[str]) -> str:
    """Return SQL in which no table is named by its database, only by schema and name.

    ``orgx.orgx.tasks`` becomes ``orgx.tasks``, which means the same in a file of any other name. Texts stay as they
    are, but for those that name a table: ``query_table('orgx.orgx.tasks')``.

    Args:
        sql: As DuckDB prints it.
        catalog: Name of the database.
        schemas: Names of its schemas, in lower case.
    """
    return replace(
        sql,
        [
            (catalog_part.start, schema_part.start, "")
            for catalog_part, schema_part, *rest in (name.parts for name in names_in(sql, DUCKDB_FILE.name))
            if rest and catalog_part.name.lower() == catalog.lower() and schema_part.name.lower() in schemas
        ],
    )
