"""Writes the tables and views of a dataset, and of its marts, as files: Parquet for programs, CSV for spreadsheets.

Reads through dlt's SQL client in batches, so memory does not grow with a table. What the destination is called and how
it is opened is `warehouse`'s business.
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
from orgx_source.warehouse.dataset import Warehouse
from orgx_source.warehouse.dialect import dialect_of

FileFormat = Literal["parquet", "csv"]

ROWS_AT_ONCE = 20_000
# dlt's own tables, and the mark that tells which marts are there.
NOT_FOR_READERS = ("_dlt", "_orgx")
# What Windows takes for a device, with any ending.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
NO_LETTERS_OF_A_FILE = re.compile(r'[\x00-\x1f/\\:*?"<>|]')
# Of the 255 bytes of a name; the rest is for endings.
LONGEST_NAME = 200
# A spreadsheet takes a text that begins so for a formula.
FORMULA = r"^[=+\-@\t\r]"


class _UnreadableError(DestinationError):
    """One table or view cannot be read; others may be."""


class UnknownTableError(OrgxError):
    """A table was asked for that is not there."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file that was written, or a table or view that could not be read.

    Attributes:
        dataset: Dataset of the table or view.
        table: Its name.
        path: The file.
        rows: How many rows it holds.
        error: Why it was not written; None when it was.
    """

    dataset: str
    table: str
    path: Path
    rows: int
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as ``export --json`` prints it."""
        if self.error is not None:
            return {"dataset": self.dataset, "table": self.table, "error": self.error}
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
    pipeline: Any,
    directory: Path,
    file_format: FileFormat,
    tables: Sequence[str] | None = None,
    *,
    guard_formulas: bool = False,
) -> list[ExportedFile]:
    """Write one file per table and view, ``DIRECTORY/DATASET/TABLE.FORMAT``, all of them as of one moment.

    One that cannot be read is named in the answer; those after it are as of a later moment.

    Args:
        pipeline: From `make_pipeline`.
        directory: Made when it does not exist; a file of an earlier export is replaced once the new one is whole.
        file_format: File format.
        tables: Names of the tables and views to write; all when not given.
        guard_formulas: Whether an apostrophe goes before each text in a CSV file that looks like a formula.

    Raises:
        UnknownTableError: There is no table or view of such a name.
        ConfigError: The destination does not support SQL.
        DestinationError: It cannot be read, or holds nothing yet.
        OrgxError: A file cannot be written.
    """
    warehouse = Warehouse(pipeline)
    try:
        warehouse.require_sql("there is nothing to export from it")
        exporting = _Exporting(directory, file_format, guard_formulas)
        while not exporting.is_done:
            with suppress(_UnreadableError), warehouse.kept_open(), warehouse.snapshot():
                # A query that failed ends the transaction, so the others go on in another.
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
        raise DestinationError(f"The dataset {client.dataset_name} is empty; orgx-sync run fills it.")
    for name in wanted or ():
        if name not in names:
            raise UnknownTableError(
                f"there is no table or view {name!r} that can be read; there are {', '.join(names)}"
            )
    return {key: columns for key, columns in found.items() if not wanted or key[1] in wanted}


class _Exporting:
    """Writes one file after the other, and goes on behind one that cannot be read."""

    def __init__(self, directory: Path, file_format: FileFormat, guard_formulas: bool) -> None:
        self._directory, self._format, self._guard_formulas = directory, file_format, guard_formulas
        self.exported: list[ExportedFile] = []
        self.is_done = False
        self._found: Mapping[tuple[str, str], list[_Column]] = {}

    def choose(self, found: Mapping[tuple[str, str], list[_Column]]) -> None:
        """Take what is to be written."""
        self._found = found

    def go_on(self, client: Any) -> None:
        """Write what is not written yet.

        Raises:
            _UnreadableError: A table or view cannot be read; it is noted.
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
    """Return the name of the file of each table, and of the folder of each dataset as table ``""``.

    A name on every system: without what some do not take, not too long, and no two that differ in their case only.
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
        raise _UnreadableError(f"{dataset}.{table} could not be read: {first_words(error)}") from None


def _write_file(
    path: Path,
    file_format: FileFormat,
    columns: Sequence[_Column],
    batches: Iterable[pa.Table],
    guard_formulas: bool = False,
) -> int:
    """Write a file under another name and put it in place when it is whole; return the number of its rows."""
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
    """Return a table whose times are text: Arrow's own form has a space where ISO 8601 has a T."""
    for number, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            text = pc.strftime(table.column(number).cast(pa.timestamp("us")), format="%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(number, field.name, text)
    return table


def _guarded(table: pa.Table) -> pa.Table:
    """Return a table in which no text begins like a formula: an apostrophe stands before it."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = table.column(number)
            guarded = pc.binary_join_element_wise("'", texts, "")
            table = table.set_column(
                number, field, pc.if_else(pc.match_substring_regex(texts, FORMULA), guarded, texts)
            )
    return table
