"""Query results as pandas DataFrames: one dtype per column type, the same from every database.

Needs pandas, so only `notebook` imports it. The report reads plain rows (`reading`).

========================  ==========================  =========================================================
in the database           in the DataFrame            missing
========================  ==========================  =========================================================
boolean                   ``boolean``                 ``pd.NA``
integer                   ``Int64``                   ``pd.NA``; ``object`` if a number needs more than 64 bits
double, decimal           ``float64``                 ``NaN``; decimals without decimal places are ``Int64``
timestamp                 ``datetime64[us, UTC]``     ``pd.NaT``
date                      ``datetime64[s]``           ``pd.NaT``; a day has no time zone
interval                  ``timedelta64[us]``         ``pd.NaT``
text                      ``string``                  ``pd.NA``
status, urgency, outcome  ``category``                ``NaN``
JSON, lists               ``object``                  ``None``; JSON is parsed into lists and dicts
========================  ==========================  =========================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import pandas as pd
from pandas import DataFrame

from orgx_source.marts import Mart
from orgx_source.tables import Column
from orgx_source.times import as_utc

Kind: TypeAlias = Literal[
    "bool", "int", "float", "decimal", "time", "date", "interval", "text", "json", "nested", "other"
]

WORK = ("planned", "active", "paused", "blocked", "completed", "closed")
REVIEW = ("draft", "in_review", "changes_requested", "approved", "superseded", "closed")
AGENT = ("running", "queued", "blocked", "idle", "gone", "unknown")
URGENCY = ("low", "medium", "high", "critical")
VERDICT = ("certified", "repaired", "uncertified")
# View and column to its possible values, in display order; "" is any query.
VOCABULARIES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("initiatives_current", "status_group"): WORK,
    ("initiative_progress_daily", "status_group"): WORK,
    ("stg_orgx__initiatives", "status_group"): WORK,
    ("artifact_flow", "status_group"): REVIEW,
    ("stg_orgx__artifacts", "status_group"): REVIEW,
    ("agent_timeline", "status"): AGENT,
    ("stg_orgx__tasks", "status_group"): ("todo", "in_progress", "blocked", "done", "dropped"),
    ("decision_latency", "urgency"): URGENCY,
    ("", "urgency"): URGENCY,
    ("decision_latency", "outcome"): ("pending", "approved", "declined", "superseded", "cancelled", "settled"),
    ("sync_health", "last_verdict"): VERDICT,
    ("stg_orgx__reads", "verdict"): VERDICT,
    ("", "last_verdict"): VERDICT,
    ("artifact_flow", "made_by"): ("agent", "human", "unknown"),
}
CATEGORIES = frozenset({"urgency", "outcome", "verdict", "last_verdict", "made_by", "status_group", "status_raw"})

# By the OID of a PostgreSQL type.
POSTGRES_KINDS: Mapping[int, Kind] = {
    16: "bool", 20: "int", 21: "int", 23: "int", 700: "float", 701: "float", 1700: "decimal", 1114: "time",
    1184: "time", 1082: "date", 1186: "interval", 114: "nested", 3802: "nested", 25: "text", 1043: "text", 1042: "text",
    19: "text",
}  # fmt: skip
NAMED_KINDS: Mapping[str, Kind] = {
    "BOOLEAN": "bool", "FLOAT": "float", "DOUBLE": "float", "DATE": "date", "INTERVAL": "interval", "JSON": "json",
    "VARCHAR": "text", "UUID": "text",
}  # fmt: skip
PYTHON_KINDS: tuple[tuple[type, Kind], ...] = (
    (bool, "bool"), (int, "int"), (float, "float"), (Decimal, "decimal"), (datetime, "time"), (date, "date"),
    (timedelta, "interval"), (str, "text"), (list, "nested"), (dict, "nested"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a query.

    Attributes:
        names: Column names, in lower case.
        kinds: Kinds of their types; None if it depends on the values.
        rows: The values.
    """

    names: Sequence[str]
    kinds: Sequence[Kind | None]
    rows: Sequence[Sequence[Any]]


def answer_of(description: Iterable[Any] | None, rows: Sequence[Sequence[Any]]) -> Answer:
    """Return an answer with the kinds that the driver provides.

    Args:
        description: Description of the DB-API cursor.
        rows: The fetched rows.
    """
    columns = list(description or ())
    return Answer([str(column[0]).lower() for column in columns], [_told_kind(column) for column in columns], rows)


def _told_kind(column: Any) -> Kind | None:
    """Return the kind of a column; None if the type codes of its driver are unknown."""
    type_code = column[1]
    if not isinstance(type_code, int):
        return _named_kind(str(type_code))
    # Only PostgreSQL's driver provides table_oid; other drivers use the same codes for other types.
    return POSTGRES_KINDS.get(type_code) if hasattr(column, "table_oid") else None


def _named_kind(type_name: str) -> Kind | None:
    """Return the kind of a DuckDB type name; None if it is unknown."""
    if type_name.endswith("[]") or type_name.startswith(("STRUCT", "MAP")):
        return "nested"
    if type_name.startswith("DECIMAL"):
        return "int" if type_name.endswith(",0)") else "float"
    if type_name.startswith("TIMESTAMP"):
        return "time"
    if type_name.endswith(("INT", "INTEGER")):
        return "int"
    return NAMED_KINDS.get(type_name)


def to_frame(answer: Answer, view: str = "") -> DataFrame:
    """Return a DataFrame with the dtypes of the table above.

    Args:
        answer: The result of a query; it may have no rows.
        view: The mart queried, if any: its columns get all categories of its documentation, including unused ones.
    """
    columns = list(zip(*answer.rows, strict=True)) or [()] * len(answer.names)
    series = [
        _series(name, kind, values, view)
        for name, kind, values in zip(answer.names, answer.kinds, columns, strict=True)
    ]
    # Not from a dict: two columns of a query may have the same name.
    frame = pd.concat(series, axis=1) if series else pd.DataFrame()
    frame.columns = pd.Index(list(answer.names))
    return frame


def _series(name: str, kind: Kind | None, values: Sequence[Any], view: str) -> pd.Series[Any]:
    found = kind or _kind_of(values)
    if found == "text" and _is_category(name):
        return pd.Series(_categories(name, values, view))
    return CONVERTERS[found](values)


def _kind_of(values: Sequence[Any]) -> Kind:
    """Return the kind of a column of unknown type, from its values."""
    told = [value for value in values if value is not None]
    return next((kind for python, kind in PYTHON_KINDS if told and all(isinstance(v, python) for v in told)), "other")


def _is_category(name: str) -> bool:
    return name in CATEGORIES or name == "status" or name.endswith("_status")


def _categories(name: str, values: Sequence[Any], view: str) -> pd.Categorical:
    known = VOCABULARIES.get((view, name), ())
    # An undocumented value must not become null.
    others = sorted({value for value in values if value is not None} - set(known))
    return pd.Categorical(values, categories=[*known, *others], ordered=known == URGENCY and not others)


def _numbers(values: Sequence[Any]) -> pd.Series[Any]:
    try:
        return pd.Series([None if value is None else int(value) for value in values], dtype="Int64")
    except (OverflowError, TypeError):
        return pd.Series(values, dtype=object)


def _floats(values: Sequence[Any]) -> pd.Series[Any]:
    return pd.Series([None if value is None else float(value) for value in values], dtype="float64")


def _decimals(values: Sequence[Any]) -> pd.Series[Any]:
    # PostgreSQL's sum of integers is a decimal without a declared number of decimal places.
    is_whole = all(value is None or (value.is_finite() and value == value.to_integral_value()) for value in values)
    return _numbers(values) if is_whole else _floats(values)


def _times(values: Sequence[Any]) -> pd.Series[Any]:
    return pd.Series([None if value is None else as_utc(value) for value in values], dtype="datetime64[us, UTC]")


def _json(values: Sequence[Any]) -> pd.Series[Any]:
    return pd.Series([json.loads(value) if isinstance(value, str) else value for value in values], dtype=object)


def _of(dtype: Any) -> Callable[[Sequence[Any]], pd.Series[Any]]:
    return lambda values: pd.Series(list(values), dtype=dtype)


def _texts(values: Sequence[Any]) -> pd.Series[Any]:
    return pd.Series([None if value is None else str(value) for value in values], dtype="string")


CONVERTERS: Mapping[Kind, Callable[[Sequence[Any]], pd.Series[Any]]] = {
    "bool": _of("boolean"),
    "int": _numbers,
    "float": _floats,
    "decimal": _decimals,
    "time": _times,
    "date": _of("datetime64[s]"),
    "interval": _of("timedelta64[us]"),
    "text": _texts,
    "json": _json,
    "nested": _of(object),
    "other": _of(object),
}


def describe_mart(frame: DataFrame, mart: Mart) -> DataFrame:
    """Add the documentation of a mart to ``attrs`` of its DataFrame, as plain text so that Parquet can store it."""
    frame.attrs = {
        "name": mart.name,
        "description": mart.description,
        "grain": mart.grain,
        "key": list(mart.key),
        "not_to_sum": mart.not_to_sum,
        "columns": {name: text for name, text in mart.columns.items() if name in frame.columns},
    }
    return frame


def describe_table(
    frame: DataFrame, name: str, description: str, key: Sequence[str], columns: Sequence[Column]
) -> DataFrame:
    """Add the documentation of a table of the connector to ``attrs`` of its DataFrame."""
    told = {column.name: column.description for column in columns if column.name in frame.columns}
    frame.attrs = {"name": name, "description": description, "key": list(key), "columns": told}
    return frame
