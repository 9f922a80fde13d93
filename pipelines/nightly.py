"""The nightly job as a script for a scheduler: syncs, prints the result, and exits with the code of the run.

    15 2 * * *  cd /srv/orgx && .venv/bin/python pipelines/nightly.py >> nightly.log 2>&1

The key comes from ``ORGX_API_KEY`` or ``.dlt/secrets.toml``. ``orgx-sync run`` does the same from the command line;
copy this file if the job should do more, such as post to a chat channel.
"""

from __future__ import annotations

import logging
import os
import sys

from orgx_source import OrgxError
from orgx_source.config import load_config
from orgx_source.sync import make_pipeline, run_sync


def main() -> int:
    """Sync every table once; return the exit code."""
    try:
        config = load_config(max_wait=1800)  # half an hour of waiting on rate limits is acceptable at night
        pipeline = make_pipeline(
            destination=os.environ.get("ORGX_DESTINATION", "duckdb"),
            dataset=os.environ.get("ORGX_DATASET", "orgx"),
            database=os.environ.get("ORGX_DATABASE"),
        )
    except OrgxError as error:
        print(f"not started: {error}", file=sys.stderr)
        return error.exit_code

    # The report has one sentence per failure; dlt would log its traceback before it.
    logging.getLogger("dlt").disabled = True
    report = run_sync(config, pipeline)

    print(f"{report.started_at:%Y-%m-%d %H:%M} {report.status}: {report.requests} requests")
    for name, table in report.tables.items():
        print(
            f"  {name}: {table.rows_new} new, {table.rows_changed} changed, {table.rows_deleted} deleted, "
            f"{table.rows_in_warehouse} in the warehouse, {table.verdict or 'failed'}"
        )
        for problem in [table.error, *table.reasons]:
            if problem:
                print(f"  {name}: {problem}", file=sys.stderr)
    for message in [*report.messages, report.error]:
        if message:
            print(message, file=sys.stderr)
    # 0 success, 1 a table failed, 3 fix the settings, 4 try again later
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
