"""Writes the tables and views of a dataset, and of its marts, as files: Parquet for programs, CSV for spreadsheets.

Reads through dlt's SQL client in batches, so memory does not grow with a table. What the destination is called and how
it is opened is `warehouse`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from orgx_source.errors import DestinationError, OrgxError
from orgx_source.explain import first_words
from orgx_source.files import whole_file
from orgx_source.marts.apply import marts_dataset
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.dialect import dialect_of

FileFormat = Literal["parquet", "csv"]

ROWS_AT_ONCE = 20_000
# dlt's own tables, and the mark that tells which marts are there.
NOT_FOR_READERS = ("_dlt", "_orgx")


class UnknownTableError(OrgxError):
    """A table was asked for that is not there."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file that was written.

    Attributes:
        dataset: Dataset of the table or view.
        table: Its name.
        path: The file.
        rows: How many rows it holds.
    """

    dataset: str
    table: str
    path: Path
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Return it as ``export --json`` prints it."""
        return {"dataset": self.dataset, "table": self.table, "file": str(self.path), "rows": self.rows}


@dataclass(frozen=True, slots=True)
class _Column:
    """A column, and as what it is read.

    Attributes:
        name: Its name.
        kind: Type in the file.
        cast: Type that the database turns it into first; None when it need not.
    """

    name: str
    kind: pa.DataType
    cast: str | None = None


def export_tables(
    pipeline: Any, directory: Path, file_format: FileFormat, tables: Sequence[str] | None = None
) -> list[ExportedFile]:
    """Write one file per table and view, ``DIRECTORY/DATASET/TABLE.FORMAT``, all of them as of one moment.

    Args:
        pipeline: From `make_pipeline`.
        directory: Made when it does not exist; a file of an earlier export is replaced once the new one is whole.
        file_format: What the files are.
        tables: Names of the tables and views to write; all when not given.

    Raises:
        UnknownTableError: There is no table or view of such a name.
        ConfigError: The destination answers no SQL.
        DestinationError: It cannot be read, or holds nothing yet.
        OrgxError: A file cannot be written.
    """
    warehouse = Warehouse(pipeline)
    try:
        warehouse.require_sql("there is nothing to export from it")
        with warehouse.kept_open(), warehouse.snapshot():
            return warehouse.with_client(lambda client: _export(client, directory, file_format, tables))
    finally:
        warehouse.close()


def _export(client: Any, directory: Path, file_format: FileFormat, wanted: Sequence[str] | None) -> list[ExportedFile]:
    found = _find_tables(client)
    names = list(dict.fromkeys(name for _, name in found))
    if not found:
        raise DestinationError(f"The dataset {client.dataset_name} holds nothing yet; orgx-sync run fills it.")
    for name in wanted or ():
        if name not in names:
            raise UnknownTableError(
                f"there is no table or view {name!r} that can be read; there are {', '.join(names)}"
            )
    exported = []
    for (dataset, name), columns in found.items():
        if wanted and name not in wanted:
            continue
        path = directory / dataset / f"{name.replace('/', '_')}.{file_format}"
        batches = _read_batches(client, dataset, name, columns)
        exported.append(ExportedFile(dataset, name, path, _write_file(path, file_format, columns, batches)))
    return exported


def _find_tables(client: Any) -> dict[tuple[str, str], list[_Column]]:
    """Return the columns of every table and view of the dataset and its marts."""
    sql = (
        "select table_schema, table_name, column_name, data_type, numeric_precision, numeric_scale "
        "from information_schema.columns where table_schema in (%s, %s)"
    )
    values = [client.dataset_name, marts_dataset(client.dataset_name)]
    if catalog := client.catalog_name(quote=False):
        sql, values = f"{sql} and table_catalog = %s", [*values, catalog]
    found: dict[tuple[str, str], list[_Column]] = {}
    dialect = dialect_of(client)
    for dataset, name, column, kind, precision, scale in _ask(client, f"{sql} order by 1, 2, ordinal_position", values):
        if not name.startswith(NOT_FOR_READERS):
            listed = found.setdefault((dataset, name), [])
            listed.append(_Column(column, *dialect.arrow_type(kind, precision, scale)))
    return found


def _ask(client: Any, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    try:
        return list(client.execute_sql(sql, *values) or ())
    except Exception as error:
        raise DestinationError(f"The tables could not be listed: {first_words(error)}") from None


def _read_batches(client: Any, dataset: str, table: str, columns: Sequence[_Column]) -> Iterator[pa.Table]:
    """Yield the rows of a table or view, some at a time."""
    dialect = dialect_of(client)
    quote = dialect.quote
    listed = ", ".join(f"cast({quote(c.name)} as {c.cast})" if c.cast else quote(c.name) for c in columns)
    with client.with_alternative_dataset_name(dataset):
        sql = f"select {listed} from {client.make_qualified_table_name(table, casefold=False)}"
    schema = pa.schema([(column.name, column.kind) for column in columns])
    try:
        yield from dialect.read_batches(client, sql, schema, ROWS_AT_ONCE)
    except Exception as error:
        raise DestinationError(f"{dataset}.{table} could not be read: {first_words(error)}") from None


def _write_file(path: Path, file_format: FileFormat, columns: Sequence[_Column], batches: Iterable[pa.Table]) -> int:
    """Write a file under another name and put it in place when it is whole; return the number of its rows."""
    rows = 0
    schema = pa.schema([(column.name, column.kind) for column in columns])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as unfinished, _open_writer(unfinished, file_format, schema) as writer:
            for batch in batches:
                writer.write_table(_with_text_times(batch) if file_format == "csv" else batch)
                rows += batch.num_rows
    except OSError as error:
        raise OrgxError(f"{path} could not be written: {error.strerror or first_words(error)}.") from None
    return rows


def _open_writer(path: Path, file_format: FileFormat, schema: pa.Schema) -> Any:
    if file_format == "parquet":
        return pyarrow.parquet.ParquetWriter(path, schema)
    return pyarrow.csv.CSVWriter(path, _with_text_times(schema.empty_table()).schema)


def _with_text_times(table: pa.Table) -> pa.Table:
    """Return a table whose times are text: Arrow's own form has a space where ISO 8601 has a T."""
    for number, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            text = pc.strftime(table.column(number).cast(pa.timestamp("us")), format="%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(number, field.name, text)
    return table
