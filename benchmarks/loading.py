"""Loading alone: merges rows from Arrow tables, with their history, as orgx-sync loads them.

Without requests, JSON, comparison, log or marts: the time dlt and DuckDB take to load so that a repeated load writes no
row twice.

python benchmarks/loading.py --rows FILE --database FILE
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orgx_source.cli.process import hide_unused_packages, set_up_process

HISTORY = "tasks_history"


def load(file: Path, database: Path) -> None:
    """Load a Parquet file of tasks, each with the time of its version, into a DuckDB file."""
    import dlt
    import pyarrow.parquet as pq

    from orgx_source.reading.changes import as_history
    from orgx_source.reading.intake import BATCH_ROWS
    from orgx_source.source import INSERT_ONLY, MERGE
    from orgx_source.warehouse.dataset import Warehouse
    from orgx_source.warehouse.pipeline import make_pipeline

    rows = pq.read_table(file)
    history: dict[str, Any] = {"primary_key": ["id", "valid_from"], "write_disposition": INSERT_ONLY}

    def read() -> Iterator[Any]:
        for start in range(0, rows.num_rows, BATCH_ROWS):
            batch = rows.slice(start, BATCH_ROWS)
            yield batch
            hints = dlt.mark.make_hints(table_name=HISTORY, **history)
            yield dlt.mark.with_hints(as_history(batch), hints, create_table_variant=True)

    pipeline = make_pipeline(database=database)
    pipeline.extract(dlt.resource(read, name="tasks", primary_key="id", write_disposition=MERGE))
    pipeline.normalize()
    with Warehouse(pipeline).kept_open(saving_memory=True):
        pipeline.load()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", required=True, type=Path, help="Parquet file")
    parser.add_argument("--database", required=True, type=Path)
    options = parser.parse_args()
    set_up_process()
    hide_unused_packages()
    load(options.rows, options.database)
    os._exit(0)


if __name__ == "__main__":
    main()
