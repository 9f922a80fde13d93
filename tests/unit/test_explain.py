"""What a database refuses is recognised by its code where it has one, whatever its words are."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from dlt.destinations.exceptions import DatabaseTransientException
from dlt.load.exceptions import LoadClientJobRetry

from orgx_source.explain import explain, refused_table


def coded(code: str, kind: type[Exception] = psycopg2.OperationalError) -> Exception:
    return type("Refused", (kind,), {"pgcode": code})("Zugriff verweigert")


class AdbcError(Exception):
    sqlstate = "42501"


CODES = {
    4: ["08006", "40P01", "40001", "53100", "53300", "55P03", "57014", "57P01", "57P03", "25P03", "58030"],
    3: ["28P01", "3D000", "3F000", "42501", "25006", "57P04"],
    1: ["54011", "54000", "22001", "23502", "23503", "0A000", "42804", "428C9", "XX000"],
}


@pytest.mark.parametrize(("expected", "code"), [(exit_code, code) for exit_code in CODES for code in CODES[exit_code]])
def test_the_code_decides_what_a_run_leaves_with(expected: int, code: str) -> None:
    for error in (coded(code), coded(code, psycopg2.ProgrammingError)):
        wrapped = LoadClientJobRetry(
            "1", "tasks.12ab.csv", 5, 5, "permission denied", DatabaseTransientException(error)
        )
        assert explain(wrapped).exit_code == expected
        assert explain(DatabaseTransientException(error)).exit_code == expected
        assert refused_table(wrapped) == "tasks"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg2.InterfaceError("connection already closed"), 4),
        (psycopg2.OperationalError("server closed the connection unexpectedly"), 4),
        (psycopg2.OperationalError("FATAL:  unsupported startup parameter: options"), 3),
        (AdbcError("no"), 3),
    ],
)
def test_without_a_code_the_class_decides(error: Any, expected: int) -> None:
    assert explain(DatabaseTransientException(error)).exit_code == expected


def test_no_table_is_blamed_for_what_is_none_s() -> None:
    assert refused_table(ValueError("tasks.1.csv")) is None
