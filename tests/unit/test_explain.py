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


def test_a_statement_that_takes_longer_than_the_role_may_says_which_setting_to_raise() -> None:
    for code, is_told in (("57014", True), ("57P01", False)):
        said = str(explain(DatabaseTransientException(coded(code))))
        assert ("raise statement_timeout for the role" in said) is is_told


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


REFUSED = [
    'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", no encryption',
    'FATAL:  pg_hba.conf rejects connection for host "10.0.0.1", user "u", database "d", SSL encryption',
    'FATAL:  role "u" is not permitted to log in',
    'FATAL:  database "d" is not currently accepting connections',
    'FATAL:  unrecognized configuration parameter "nonsense"',
    'FATAL:  invalid value for parameter "client_encoding": "foo"',
    "FATAL:  connection requires a valid client certificate",
    "FATAL:  SSL connection is required",
    "FATAL:  Tenant or user not found",
    "FATAL:  no such user",
    "fe_sendauth: no password supplied",
    "server does not support SSL, but SSL was required",
    "SSL error: certificate verify failed",
    'server certificate for "a.example" does not match host name "b.example"',
    'root certificate file "/nowhere/root.crt" does not exist',
    'private key file "/nowhere/client.key" has group or world access',
    "channel binding required, but server authenticated client without channel binding",
    "received invalid response to SSL negotiation: H",
    'invalid integer value "abc" for connection option "port"',
    'invalid port number: "99999"',
    'invalid sslmode value: "foo"',
    'definition of service "none" not found',
]
PASSING = [
    "FATAL:  sorry, too many clients already",
    'FATAL:  too many connections for role "u"',
    "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
    "FATAL:  the database system is starting up",
    "FATAL:  query_wait_timeout",
    "Connection refused",
    "timeout expired",
    "SSL SYSCALL error: EOF detected",
    "SSL connection has been closed unexpectedly",
    'could not translate host name "h.example" to address: Name or service not known',
]


@pytest.mark.parametrize(
    ("expected", "words"), [*((3, words) for words in REFUSED), *((4, words) for words in PASSING)]
)
def test_a_connection_that_no_waiting_allows_is_exit_3(expected: int, words: str) -> None:
    said = f'connection to server at "h.example" (10.0.0.2), port 5432 failed: {words}'
    assert explain(DatabaseTransientException(psycopg2.OperationalError(said))).exit_code == expected
    assert explain(psycopg2.OperationalError(said)).exit_code == expected
