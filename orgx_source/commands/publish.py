"""Publishes a copy of the DuckDB file for dashboards, atomically and while readers have the old copy open.

DuckDB writes the copy in one transaction. A reader that has the old copy open keeps reading it, because the file
content stays until it is closed; opening the file again gives the new copy.
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

# Dashboards often embed an older DuckDB, which cannot read the default storage format of the current one.
READABLE_SINCE = "v1.0.0"
# Names of built-in databases, or names that DuckDB confuses with a schema.
NOT_NAMES = frozenset({"main", "temp", "system"})


def problem_with(file: Path, working: Path, dataset: str) -> str | None:
    """Return why a file cannot be the published copy, as far as known in advance; else None.

    Args:
        file: Path of the copy.
        working: The DuckDB file that runs fill.
        dataset: Its dataset.
    """
    if problem := _problem_with_place(file):
        return problem
    if file.resolve() == working.resolve() or (file.exists() and working.exists() and file.samefile(working)):
        return f"{file} is the database that the run itself writes; choose another file"
    name = _catalog(file).lower()
    if name in ("", *NOT_NAMES):
        return f"{file.name} would be database {name!r}, which is not a valid name in DuckDB; choose another name"
    if name != _catalog(working).lower() and name in (dataset.lower(), marts_dataset(dataset).lower()):
        return (
            f"{file.name} would be database {name}, the name of a dataset in it, and DuckDB could not distinguish the "
            f"two; choose another name, such as {dataset}_published.duckdb"
        )
    return None


def _problem_with_place(file: Path) -> str | None:
    try:
        if not is_plain(file):
            return f"{file} is a pipe or a device; a database must be a regular file"
        place = file.resolve()
        if not place.parent.is_dir():
            return f"the folder {place.parent} does not exist"
        if not os.access(place.parent, os.W_OK | os.X_OK):
            return f"no permission to write to the folder {place.parent}"
        if place.exists() and place.stat().st_size and not is_database(place):
            return f"{file} already exists and is not a DuckDB file, so it is left alone"
    except OSError as error:
        return f"{file} cannot be used: {error.strerror or error}"
    return None


def publish(pipeline: Any, working: Path, file: Path, patience: LockPatience) -> None:
    """Replace a file by a copy of the working file, atomically.

    Args:
        pipeline: The pipeline that fills the working file.
        working: A DuckDB file.
        file: Path of the copy; an older copy is replaced, and stays if anything fails.
        patience: How long to wait for the working file if another process has it open.

    Raises:
        PublishError: It cannot be copied, written or put in place.
        DestinationError: The working file is open elsewhere, or data read is not loaded yet.
    """
    try:
        with one_run_at_a_time(pipeline):
            if pipeline.has_pending_data:
                raise DestinationError("Some data is read but not loaded yet; the next run loads it.")
            # DuckDB names a database by its file name up to the first dot, so the copy has its final name from the
            # start.
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
        schema: Its schema.
        name: Its name.
        sql: ``CREATE VIEW schema.name AS ...``.
        comment: Its comment.
        columns: Column name to its comment.
    """

    schema: str
    name: str
    sql: str
    comment: str | None
    columns: Mapping[str, str]

    def path(self, catalog: str) -> str:
        """Return its qualified name in a database."""
        return ".".join(DUCKDB_FILE.quote(part) for part in (catalog, self.schema, self.name))


def _copy(working: Path, unfinished: Path, dataset: str, patience: LockPatience) -> None:
    """Write a copy whose queries, views included, work under its own database name."""
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
    # Created first, and not from DuckDB's printed SQL: 1.4 prints some views in a form that it cannot parse.
    renew_marts(Target(dataset=dataset, database=unfinished).pipeline())
    with _opened(unfinished) as connection:
        _remake_views(connection, old, new)
        for view in answering:
            if not _answers(connection, view, new):
                raise PublishError(f"the view {view.schema}.{view.name} would not work in a file with that name")


@contextmanager
def _opened(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(str(file), config={"storage_compatibility_version": READABLE_SINCE})
    try:
        yield connection
        # Closing also writes the rest, but reports no error.
        connection.execute("checkpoint")
    finally:
        connection.close()


def _attach(connection: duckdb.DuckDBPyConnection, working: Path, name: str, patience: LockPatience) -> None:
    """Open the working file read-only; other processes may do the same.

    Never opened as an ordinary file: with POSIX locks, closing that would release DuckDB's lock.
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
    """Recreate the views that name the database, with their comments, in order of dependency."""
    schemas = {name.lower() for (name,) in connection.execute("select schema_name from duckdb_schemas()").fetchall()}
    found = _views(connection, new)
    waiting = [(view, sql) for view in found if (sql := without_catalog(view.sql, old, schemas)) != view.sql]
    while waiting:
        refused = [(view, sql) for view, sql in waiting if not _remake(connection, view, sql)]
        if len(refused) == len(waiting):
            # These views did not work before either; the caller reports the others.
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
    """Return SQL without database names in its table names.

    ``orgx.orgx.tasks`` becomes ``orgx.tasks``, which works in a file with any other name. String literals are
    unchanged, except those that name a table: ``query_table('orgx.orgx.tasks')``.

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
