"""A first load during which a commit fails for lack of memory: a program of its own, for another version of DuckDB.

python -m tests.old_duckdb [bare] [unfinished]     prints one JSON object

The memory limit is lowered just before the commit: as if a query of another connection had taken it. With ``bare``, the
load commits as dlt does, which repeats a failed job in the same DuckDB instance. With ``unfinished``, it is not moved
from the log into the file, where DuckDB may notice.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import duckdb
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

from orgx_source.sandbox import Sandbox, World
from orgx_source.sync import run_sync
from orgx_source.warehouse.duckdb_file import FileClient
from orgx_source.warehouse.pipeline import make_pipeline
from tests.running import fast_client

ROWS = 20_000
# What is left to the commit, which needs several times as much.
LEFT_BYTES = 4_000_000


class Shortage:
    """Takes the memory from the commit of the rows, once."""

    def __init__(self) -> None:
        self.failed = 0

    def commit(self, client: Any) -> None:
        connection = client._conn
        if self.failed or not self._has_rows(connection):
            COMMIT(client)
            return
        settings = "select current_setting('memory_limit'), current_setting('temp_directory')"
        before, folder = connection.execute(settings).fetchall()[0]
        (used,) = connection.execute("select sum(memory_usage_bytes) from duckdb_memory()").fetchall()[0]
        # Otherwise it would move to disk what it needs less.
        connection.execute("set global temp_directory = ''")
        connection.execute(f"set global memory_limit = '{used + LEFT_BYTES}B'")
        try:
            COMMIT(client)
        except Exception:
            self.failed += 1
            raise
        finally:
            connection.execute(f"set global memory_limit = '{before}'")
            connection.execute(f"set global temp_directory = '{folder}'")

    def _has_rows(self, connection: Any) -> bool:
        # A query for a missing table would abort the transaction.
        made = "select count(*) from duckdb_tables() where schema_name = 'orgx' and table_name = 'tasks'"
        if connection.execute(made).fetchall() == [(0,)]:
            return False
        return bool(connection.execute("select count(*) from orgx.tasks").fetchall() == [(ROWS,)])


COMMIT = DuckDbSqlClient.commit_transaction


def main() -> None:
    """Load, and print what the run claims and what stands in the file."""
    shortage = Shortage()
    DuckDbSqlClient.commit_transaction = lambda client: shortage.commit(client)
    if "bare" in sys.argv:
        FileClient.commit_transaction = DuckDbSqlClient.commit_transaction
    if "unfinished" in sys.argv:
        FileClient._checkpoint = lambda client: None
    world = World("small")
    sample = world.rows("task")[0]
    for number in range(ROWS - world.count("task")):
        text = " ".join(f"{number * factor * 2654435761 % 2**32:08x}" for factor in range(1, 80))
        world.insert("task", **sample | {"id": f"task-{number:06d}", "description": text})
    file = Path("old.duckdb")
    with Sandbox(world) as box:
        client = fast_client(box)
        report = run_sync(client.config, make_pipeline(database=file), tables=["tasks"], client=client)
    with duckdb.connect(str(file), read_only=True) as connection:
        rows, ids = connection.execute("select count(*), count(distinct id) from orgx.tasks").fetchall()[0]
    task = report.tables["tasks"]
    found = {"duckdb": duckdb.__version__, "failed": shortage.failed, "rows": rows, "ids": ids}
    claimed = {"verdict": task.verdict, "reasons": task.reasons, "exit_code": report.exit_code, "error": report.error}
    sys.stdout.write(json.dumps(found | claimed))


if __name__ == "__main__":
    main()
