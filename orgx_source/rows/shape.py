"""Converts rows from OrgX to an Arrow table with the declared schema, without dropping anything.

Uses neither network nor dlt. A value that does not fit its column's type goes to ``<column>__v_text`` as text, and the
typed column is null. The same applies to the second of two aliases that disagree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from hashlib import blake2b
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from orgx_source.rows.column_types import ColumnTypes
from orgx_source.tables import MISFIT_SUFFIX, ColumnType, Row, Table, column_name, is_id
from orgx_source.times import parse_timestamp

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "json": pa.string(),
}

# Maximum depth of orjson; deeper values are kept as text, because databases have different limits.
DEEPEST_JSON = 254

_ALL_DIGITS = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_NONE = type(None)
_FITTING: dict[ColumnType, frozenset[type]] = {
    "text": frozenset({str, _NONE}),
    "bigint": frozenset({int, _NONE}),
    "double": frozenset({int, float, _NONE}),
    "bool": frozenset({bool, _NONE}),
    "timestamp": frozenset({str, _NONE}),
    "date": frozenset({str, _NONE}),
}
# Arrow parses these directly; anything else is parsed value by value, which is slower.
_PLAIN_TIMESTAMP = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"
_FINER_THAN_MICROSECONDS = re.compile(r"\.\d{7,}")


@dataclass
class Shaper:
    """Converts the pages of one table.

    Attributes:
        table: The table.
        types: The types of its columns; those of undeclared columns are learnt from the rows.
    """

    table: Table
    types: ColumnTypes
    _families: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for column in self.table.columns:
            for key in column.keys:
                self._families.setdefault(key, column.name)

    def shape(self, rows: Sequence[Row]) -> pa.Table:
        """Return the rows as an Arrow table, without columns that no row has.

        Args:
            rows: Rows with an id, as OrgX sent them.
        """
        arrays: dict[str, pa.Array] = {}
        came = _columns_of(rows)
        for name, keys in self._group_keys(came).items():
            values, losers = _first_given([came[key] for key in keys], is_id if name == self.table.key else _is_given)
            column_type = self.types.get(name) or infer_type(values)
            if column_type is None:
                continue
            if name in self.types.beside:
                misfits = {index: as_text(value) for index, value in enumerate(values) if value is not None}
                if name + MISFIT_SUFFIX not in self.types:
                    self.types.newly_beside.append(name)
            else:
                self.types.learn(name, column_type)
                arrays[name], misfits = build_array(column_type, values)
            for index, text in losers.items():
                misfits[index] = canonical_json([misfits[index], text]) if index in misfits else text
            if misfits:
                arrays[name + MISFIT_SUFFIX] = pa.array([misfits.get(i) for i in range(len(rows))], pa.string())
                self.types.learn(name + MISFIT_SUFFIX, "text")
        return pa.table(arrays)

    def _group_keys(self, present: Iterable[str]) -> dict[str, list[str]]:
        """Map each column to the keys it is read from: declared columns first, in order."""
        groups: dict[str, list[str]] = {
            column.name: keys
            for column in self.table.columns
            if (keys := [key for key in column.keys if key in present and self._families[key] == column.name])
        }
        for key in present:
            if key not in self._families:
                groups.setdefault(column_name(key), []).append(key)
        for name, keys in groups.items():
            if not self.types.is_declared(name):
                # The order of keys depends on neighbouring rows, but the same row must always give the same result.
                keys.sort(key=lambda key: (key != name, key))
        return groups


def infer_type(values: Iterable[Any]) -> ColumnType | None:
    """Return the type of an undeclared column according to its first values; None if all are null."""
    kinds = set(map(type, values)) - {_NONE}
    if not kinds:
        return None
    if kinds == {bool}:
        return "bool"
    if kinds <= {int, float}:
        # Also for integers: fractions may follow, and a column keeps its type.
        return "double"
    return "text" if kinds == {str} else "json"


def build_array(column_type: ColumnType, values: Sequence[Any]) -> tuple[pa.Array, dict[int, str]]:
    """Return an Arrow array and, by position, the values that do not fit as text (null in the array)."""
    arrow_type = ARROW_TYPES[column_type]
    if column_type == "json":
        return _json_array(values)
    if set(map(type, values)) <= _FITTING[column_type]:
        try:
            if column_type == "timestamp":
                texts = pa.array(values, pa.string())
                if pc.all(pc.match_substring_regex(texts, _PLAIN_TIMESTAMP)).as_py() is not False:
                    moments = texts.cast(arrow_type)
                    _refuse_unknown_years(moments)
                    return moments, {}
            elif column_type == "date":
                days = pa.array(values, pa.string()).cast(arrow_type)
                _refuse_unknown_years(days)
                return days, {}
            else:
                return pa.array(values, arrow_type), {}
        except (ValueError, pa.ArrowTypeError, OverflowError):
            pass
    fitted: list[Any] = []
    misfits: dict[int, str] = {}
    fit = _FITTERS[column_type]
    for index, value in enumerate(values):
        typed, exact = (None, True) if value is None else fit(value)
        fitted.append(typed)
        if not exact:
            misfits[index] = as_text(value)
    return pa.array(fitted, arrow_type), misfits


def _refuse_unknown_years(array: pa.Array) -> None:
    """Raise if a year is out of range for Python and the drivers: before 1, or after 9999 in UTC.

    Raises:
        ValueError, OverflowError: There is one.
    """
    pc.min_max(array).as_py()


def _fit_text(value: Any) -> tuple[str, bool]:
    return as_text(value), True


def _fit_bigint(value: Any) -> tuple[int | None, bool]:
    fits = type(value) is int and -(2**63) <= value < 2**63
    if not fits and type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value), True
    return (value, True) if fits else (None, False)


def _fit_double(value: Any) -> tuple[float | None, bool]:
    if type(value) is float or (type(value) is int and abs(value) <= 2**53):
        return float(value), True
    return None, False


def _fit_bool(value: Any) -> tuple[bool | None, bool]:
    return (value, True) if type(value) is bool else (None, False)


def _fit_timestamp(value: Any) -> tuple[datetime | None, bool]:
    moment = parse_timestamp(value)
    return moment, moment is not None and not _FINER_THAN_MICROSECONDS.search(value)


def _fit_date(value: Any) -> tuple[date | None, bool]:
    """Return the day of a timestamp, and whether its time of day was lost."""
    moment = parse_timestamp(value)
    if moment is None:
        return None, False
    return moment.date(), len(value) == len("2026-04-13")


_FITTERS: dict[ColumnType, Callable[[Any], tuple[Any, bool]]] = {
    "text": _fit_text,
    "bigint": _fit_bigint,
    "double": _fit_double,
    "bool": _fit_bool,
    "timestamp": _fit_timestamp,
    "date": _fit_date,
}


def as_text(value: Any) -> str:
    """Return text unchanged, anything else as canonical JSON."""
    return value if isinstance(value, str) else canonical_json(value)


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys: equal values give equal text, whatever order OrgX sent them in."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError):
        # Integers beyond 64 bits, or nesting deeper than orjson goes.
        return _write_json(value)


def loadable_json(value: Any, depth: int = 0) -> Any:
    """Return a value for a JSON column of rows that dlt writes, with text in place of what its encoder refuses.

    That is integers beyond 64 bits, and objects and lists nested deeper than `DEEPEST_JSON` levels, of which dlt's row
    takes some. Arrow tables hold JSON as text and need none of this.
    """
    if isinstance(value, dict | list) and depth > DEEPEST_JSON - 4:
        return canonical_json(value)
    if isinstance(value, dict):
        return {key: loadable_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [loadable_json(item, depth + 1) for item in value]
    return str(value) if isinstance(value, int) and abs(value) >= 2**63 else value


def recanonical(text: str) -> str:
    """Return JSON text as `canonical_json` writes it; other text unchanged."""
    try:
        return canonical_json(json.loads(text))
    except (ValueError, RecursionError):
        return text


def same_json(one: str, other: str) -> bool:
    """Return whether two JSON texts are equal to a database, which does not distinguish 1e2 or 100.0 from 100."""
    if one == other:
        return True
    try:
        first, second = (json.loads(text, parse_int=_number, parse_float=_number) for text in (one, other))
        return canonical_json(first) == canonical_json(second)
    except (ValueError, RecursionError):
        return False


def _number(digits: str) -> dict[str, str]:
    number = Decimal(digits)
    # A marker that no row contains: a number must not equal its text.
    return {"\x00number": str(number.normalize(_ALL_DIGITS)) if number else "0"}


def _write_json(value: Any) -> str:
    """Write JSON like ``json.dumps``, but to any depth: ``json.dumps`` is limited by Python's stack."""
    written: list[str] = []
    waiting: list[tuple[bool, Any]] = [(False, value)]
    while waiting:
        is_text, item = waiting.pop()
        if is_text:
            written.append(item)
        elif isinstance(item, dict):
            waiting.append((True, "}"))
            for place, key in reversed(list(enumerate(sorted(item)))):
                lead = f"{',' if place else '{'}{json.dumps(key, ensure_ascii=False)}:"
                waiting += [(False, item[key]), (True, lead)]
            written += [] if item else ["{"]
        elif isinstance(item, list):
            waiting.append((True, "]"))
            for place, inner in reversed(list(enumerate(item))):
                waiting += [(False, inner), (True, "," if place else "[")]
            written += [] if item else ["["]
        else:
            written.append(json.dumps(item, ensure_ascii=False))
    return "".join(written)


def _json_array(values: Sequence[Any]) -> tuple[pa.Array, dict[int, str]]:
    try:
        encoded = [None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS) for value in values]
    except (TypeError, orjson.JSONEncodeError):
        texts = [None if value is None else canonical_json(value) for value in values]
        too_deep = {index: texts[index] or "" for index, value in enumerate(values) if _is_too_deep(value)}
        fitting = [None if index in too_deep else text for index, text in enumerate(texts)]
        return pa.array(fitting, pa.string()), too_deep
    return pa.array(encoded, pa.binary()).cast(pa.string()), {}


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST_JSON + 1):
        level = [inner for item in level for inner in _inside(item)]
    return bool(level)


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def row_hashes(table: pa.Table, skip: Iterable[str]) -> list[str]:
    """Return a hash per row over all columns except ``skip``; null equals missing, column order does not matter."""
    left_out = set(skip)
    parts = []
    for name in sorted(set(table.column_names) - left_out):
        column = table.column(name)
        if pa.types.is_string(column.type) and _may_hold(b"\x1e", column):  # guard: separator-in-a-value
            parts.append(_escaped_part(name, column))
            continue
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        elif pa.types.is_date32(column.type):
            column = column.cast(pa.int32())
        parts.append(pc.binary_join_element_wise(f"\x1e{name}\x1f", column.cast(pa.string()), ""))
    if not parts:
        return [""] * table.num_rows
    joined = pc.binary_join_element_wise(*parts, "", null_handling="skip").cast(pa.binary())
    return [blake2b(text, digest_size=8).hexdigest() for text in joined.to_pylist()]


def _may_hold(byte: bytes, column: pa.ChunkedArray) -> bool:
    """Return whether a byte occurs in the buffer of a text column: ten times as fast as checking each text."""
    buffers = (chunk.buffers()[2] for chunk in column.iterchunks())
    return any(buffer is not None and byte in buffer.to_pybytes() for buffer in buffers)


def _escaped_part(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    r"""Return a column's part of the hashed text if a value contains the mark that starts a part.

    Such a value is escaped unambiguously: ``\x1e`` is doubled. All others are unchanged, because warehouses store the
    hashes of their rows.
    """
    parts = [
        text if text is None else f"\x1e{name}\x1e{text.encode().hex()}" if "\x1e" in text else f"\x1e{name}\x1f{text}"
        for text in column.to_pylist()
    ]
    return pa.chunked_array([pa.array(parts, pa.string())])


def _columns_of(rows: Sequence[Row]) -> dict[str, Sequence[Any]]:
    """Return the values of each key over all rows, in order of appearance."""
    first = list(rows[0]) if rows else []
    if all(list(row) == first for row in rows):
        return dict(zip(first, zip(*(row.values() for row in rows), strict=True), strict=True))
    present: dict[str, None] = {}
    for row in rows:
        present.update(dict.fromkeys(row))
    return {key: [row.get(key) for row in rows] for key in present}


def _is_given(value: Any) -> bool:
    return value is not None


def _first_given(
    columns: Sequence[Sequence[Any]], is_given: Callable[[Any], bool]
) -> tuple[Sequence[Any], dict[int, str]]:
    """Return each row's first given value among the aliases, and the values of other aliases that disagree."""
    if len(columns) == 1:
        return columns[0], {}
    values: list[Any] = []
    losers: dict[int, str] = {}
    for index, row in enumerate(zip(*columns, strict=True)):
        given = [value for value in row if is_given(value)]
        values.append(given[0] if given else None)
        others = [value for value in given[1:] if _differ(value, given[0])]
        if others:
            losers[index] = as_text(others[0] if len(others) == 1 else others)
    return values, losers


def _differ(one: Any, other: Any) -> bool:
    try:
        return bool(one != other)
    except RecursionError:
        return canonical_json(one) != canonical_json(other)
