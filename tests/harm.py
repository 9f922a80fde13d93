"""Loads that fail silently: rows are lost, duplicated or changed inside a load that dlt considers complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.job_client_impl import SqlJobClientBase

HARM = {
    "lost": "delete from {table} where id in "
    "(select id from {table} where _dlt_load_id = '{load}' order by id limit 3)",
    "doubled": "insert into {table} select * from {table} where _dlt_load_id = '{load}' order by id limit 3",
    "changed": "update {table} set _row_hash = '0000000000000000' where id in "
    "(select id from {table} where _dlt_load_id = '{load}' order by id limit 3)",
}


@contextmanager
def harmed(statement: str, *, times: int = 1, after: int = 0) -> Iterator[list[str]]:
    """Damage a load before dlt marks it as complete; yield the damaged loads."""
    complete: Callable[..., None] = SqlJobClientBase.complete_load
    seen: list[str] = []
    loads: list[str] = []

    def complete_load(client: Any, load_id: str) -> None:
        name = client.sql_client.make_qualified_table_name
        table = name(statement.partition(":")[0])
        written = query_count(client, table, load_id)
        if written:
            seen.append(load_id)
            if after < len(seen) <= after + times:
                client.sql_client.execute_sql(statement.partition(":")[2].format(table=table, load=load_id))
                loads.append(load_id)
        complete(client, load_id)

    with mock.patch.object(SqlJobClientBase, "complete_load", complete_load):
        yield loads


def query_count(client: Any, table: str, load_id: str) -> int:
    try:
        found = client.sql_client.execute_sql(f"select count(*) from {table} where _dlt_load_id = %s", load_id)
    except DatabaseUndefinedRelation:
        return 0
    return int(found[0][0])
