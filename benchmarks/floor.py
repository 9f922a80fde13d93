"""The floor: reads pages one after another, parses them, applies a schema, inserts once. No state, merge or history.

python benchmarks/floor.py --url URL --database FILE
"""

from __future__ import annotations

import argparse
from typing import Any

import duckdb
import httpx
import orjson
import pyarrow as pa

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "title", "status", "priority", "initiative_id", "workstream_id")),
        *((name, pa.string()) for name in ("milestone_id", "type", "workspace_id", "assigned_agent_ids", "metadata")),
        ("description", pa.string()),
        ("sequence", pa.int64()),
        ("expected_duration_hours", pa.float64()),
        ("created_at", pa.string()),
        ("updated_at", pa.string()),
    ]
)
TIMES = ("created_at", "updated_at")
NESTED = ("assigned_agent_ids", "metadata")
BATCH_PAGES = 200


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return the rows, changed in place, as an Arrow table."""
    for row in rows:
        for name in NESTED:
            row[name] = orjson.dumps(row[name]).decode()
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    for name in TIMES:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table.column(name).cast(pa.timestamp("us", "UTC")))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--database", required=True)
    options = parser.parse_args()
    tables: list[pa.Table] = []
    pending: list[dict[str, Any]] = []
    offset, more = 0, True
    with httpx.Client() as client:
        while more:
            params = {"type": "task", "limit": "100", "offset": str(offset)}
            document = orjson.loads(client.get(f"{options.url}/api/entities", params=params).content)
            pending += document["data"]
            offset += len(document["data"])
            more = document["pagination"]["has_more"]
            if len(pending) >= BATCH_PAGES * 100 or not more:
                tables.append(as_table(pending))
                pending = []
    # The statement below refers to it by name.
    arriving = pa.concat_tables(tables)
    with duckdb.connect(options.database) as connection:
        connection.register("arriving", arriving)
        connection.execute("create table tasks as select * from arriving")


if __name__ == "__main__":
    main()
