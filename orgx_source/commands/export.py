"""Exports the tables and views of a dataset and its marts as files: Parquet for programs, CSV for spreadsheets.

Reads through dlt's SQL client in batches, so memory does not grow with the size of a table.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
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
from orgx_source.texts import unknown
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.dialect import dialect_of
from orgx_source.warehouse.target import empty_dataset

FileFormat = Literal["parquet", "csv"]

ROWS_AT_ONCE = 20_000
# dlt's own tables, and the table that marks the installed marts.
NOT_FOR_READERS = ("_dlt", "_orgx")
# Device names on Windows, with any extension.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
NO_LETTERS_OF_A_FILE = re.compile(r'[\x00-\x1f/\\:*?"<>|]')
# Of the 255 bytes of a file name; the rest is for extensions.
LONGEST_NAME = 200
# A spreadsheet treats text with these first characters as a formula.
FORMULA = r"^[=+\-@\t\r]"


class _UnreadableError(DestinationError):
    """A table or view cannot be read; others may be readable."""


class UnknownTableError(OrgxError):
    """A requested table does not exist."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A written file, or a table or view that could not be read.

    Attributes:
        dataset: Dataset of the table or view.
        table: Its name.
        path: The file.
        rows: Number of rows.
        error: Why it was not written; None if it was.
    """

    dataset: str
    table: str
    path: Path
    rows: int
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON of ``export --json``."""
        if self.error is not None:
            return {"dataset": self.dataset, "table": self.table, "error": self.error}
        return {"dataset": self.dataset, "table": self.table, "file": str(self.path), "rows": self.rows}


@dataclass(frozen=True, slots=True)
class _Column:
    """A column, and how to read it.

    Attributes:
        name: Its name.
        kind: Type in the file.
        cast: Type that the database casts it to first; None for no cast.
    """

    name: str
    kind: pa.DataType
    cast: str | None = None


def export_tables(
    pipeline: Any,
    directory: Path,
    file_format: FileFormat,
    tables: Sequence[str] | None = None,
    *,
    guard_formulas: bool = False,
) -> list[ExportedFile]:
    """Write one file per table and view, ``DIRECTORY/DATASET/TABLE.FORMAT``, all from one snapshot.

    A table that cannot be read is reported in the result; those after it are from a later snapshot.

    Args:
        pipeline: From `make_pipeline`.
        directory: Created if missing; files of an earlier export are replaced atomically.
        file_format: File format.
        tables: Names of the tables and views to write; by default all.
        guard_formulas: Whether to put an apostrophe before each text in a CSV file that looks like a formula.

    Raises:
        UnknownTableError: There is no table or view with such a name.
        ConfigError: The destination does not support SQL.
        DestinationError: It cannot be read, or is empty.
        OrgxError: A file cannot be written.
    """
    warehouse = Warehouse(pipeline)
    try:
        warehouse.require_sql("there is nothing to export from it")
        exporting = _Exporting(directory, file_format, guard_formulas)
        while not exporting.is_done:
            with suppress(_UnreadableError), warehouse.kept_open(), warehouse.snapshot():
                # A failed query ends the transaction; the other tables use a new one.
                exporting.choose(warehouse.with_client(lambda client: _choose(client, tables)))
                warehouse.with_client(exporting.go_on)
        return exporting.exported
    finally:
        warehouse.close()


def _choose(client: Any, wanted: Sequence[str] | None) -> dict[tuple[str, str], list[_Column]]:
    """Return the tables and views to write, and their columns."""
    found = _find_tables(client)
    names = list(dict.fromkeys(name for _, name in found))
    if not found:
        raise empty_dataset(client.dataset_name)
    for name in wanted or ():
        if name not in names:
            raise UnknownTableError(unknown("table or view", name, names, "names"))
    return {key: columns for key, columns in found.items() if not wanted or key[1] in wanted}


class _Exporting:
    """Writes one file after the other, and continues after one that cannot be read."""

    def __init__(self, directory: Path, file_format: FileFormat, guard_formulas: bool) -> None:
        self._directory, self._format, self._guard_formulas = directory, file_format, guard_formulas
        self.exported: list[ExportedFile] = []
        self.is_done = False
        self._found: Mapping[tuple[str, str], list[_Column]] = {}

    def choose(self, found: Mapping[tuple[str, str], list[_Column]]) -> None:
        """Take the tables to write."""
        self._found = found

    def go_on(self, client: Any) -> None:
        """Write the remaining tables.

        Raises:
            _UnreadableError: A table or view cannot be read; this is recorded.
        """
        names, done = _file_names(self._found), {(file.dataset, file.table) for file in self.exported}
        for (dataset, table), columns in self._found.items():
            if (dataset, table) in done:
                continue
            path = self._directory / names[dataset, ""] / f"{names[dataset, table]}.{self._format}"
            batches = _read_batches(client, dataset, table, columns)
            try:
                rows = _write_file(path, self._format, columns, batches, self._guard_formulas)
            except _UnreadableError as error:
                self.exported.append(ExportedFile(dataset, table, path, 0, str(error)))
                raise
            self.exported.append(ExportedFile(dataset, table, path, rows))
        self.is_done = True


def _file_names(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the file name of each table, and the folder name of each dataset as table ``""``.

    The names are valid on every system: no forbidden characters, not too long, and distinct without regard to case.
    """
    names: dict[tuple[str, str], str] = {}
    taken: set[tuple[str, str]] = set()
    for dataset, table in dict.fromkeys(each for key in keys for each in ((key[0], ""), key)):
        name = table or dataset
        safe = NO_LETTERS_OF_A_FILE.sub("_", name).rstrip(". ")
        safe = safe.encode()[:LONGEST_NAME].decode(errors="ignore")
        folder = dataset if table else ""
        if DEVICES.fullmatch(safe):
            safe = f"_{safe}"
        if not safe or len(name.encode()) > LONGEST_NAME or (folder, safe.lower()) in taken:
            safe = f"{safe}_{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
        taken.add((folder, safe.lower()))
        names[dataset, table] = safe
    return names


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
    """Yield the rows of a table or view in batches."""
    dialect = dialect_of(client)
    quote = dialect.quote
    listed = ", ".join(f"cast({quote(c.name)} as {c.cast})" if c.cast else quote(c.name) for c in columns)
    with client.with_alternative_dataset_name(dataset):
        sql = f"select {listed} from {client.make_qualified_table_name(table, casefold=False)}"
    schema = pa.schema([(column.name, column.kind) for column in columns])
    try:
        yield from dialect.read_batches(client, sql, schema, ROWS_AT_ONCE)
    except Exception as error:
        raise _UnreadableError(f"{dataset}.{table} could not be read: {first_words(error)}") from None


def _write_file(
    path: Path,
    file_format: FileFormat,
    columns: Sequence[_Column],
    batches: Iterable[pa.Table],
    guard_formulas: bool = False,
) -> int:
    """Write a file atomically; return its number of rows."""
    rows = 0
    schema = pa.schema([(column.name, column.kind) for column in columns])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as unfinished, _open_writer(unfinished, file_format, schema) as writer:
            for batch in batches:
                shown = _guarded(batch) if guard_formulas else batch
                writer.write_table(_with_text_times(shown) if file_format == "csv" else shown)
                rows += batch.num_rows
    except OSError as error:
        raise OrgxError(f"{path} could not be written: {error.strerror or first_words(error)}.") from None
    return rows


def _open_writer(path: Path, file_format: FileFormat, schema: pa.Schema) -> Any:
    if file_format == "parquet":
        return pyarrow.parquet.ParquetWriter(path, schema)
    return pyarrow.csv.CSVWriter(path, _with_text_times(schema.empty_table()).schema)


def _with_text_times(table: pa.Table) -> pa.Table:
    """Return a table with times as ISO 8601 text; Arrow's own format has a space instead of the T."""
    for number, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            text = pc.strftime(table.column(number).cast(pa.timestamp("us")), format="%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(number, field.name, text)
    return table


def _guarded(table: pa.Table) -> pa.Table:
    """Return a table with an apostrophe before each text that starts like a formula."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = table.column(number)
            guarded = pc.binary_join_element_wise("'", texts, "")
            table = table.set_column(
                number, field, pc.if_else(pc.match_substring_regex(texts, FORMULA), guarded, texts)
            )
    return table
