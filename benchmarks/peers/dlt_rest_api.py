"""Tasks of an OrgX server into DuckDB with dlt's declarative REST source (dlt docs, "REST API source")."""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")

import dlt
from dlt.sources.rest_api import rest_api_source

ENTITY_TYPES = {
    "workspaces": "command_center",
    "initiatives": "initiative",
    "artifacts": "artifact",
    "decisions": "decision",
    "workstreams": "workstream",
    "milestones": "milestone",
    "tasks": "task",
}
# The feed of activity has no pages: one answer, of at most this many events.
ACTIVITY_MOST = 100_000


def entities(table: str, entity_type: str) -> dict[str, Any]:
    """Return the resource of one list of entities; paging, key and disposition are those of all."""
    return {
        "name": table,
        "endpoint": {"path": "api/entities", "params": {"type": entity_type}, "data_selector": "data"},
    }


def live(table: str, params: dict[str, Any], selector: str) -> dict[str, Any]:
    """Return the resource of a live list, which is one answer without pages."""
    path = f"api/client/live/{table}"
    endpoint = {"path": path, "params": params, "data_selector": selector, "paginator": "single_page"}
    return {"name": table, "endpoint": endpoint}


def make_source(url: str, key: str, *, organisation: bool) -> Any:
    """Return the source of tasks, or of every table of an organisation."""
    resources = [entities("tasks", "task")]
    if organisation:
        resources = [entities(table, entity_type) for table, entity_type in ENTITY_TYPES.items()]
        resources.append(live("agents", {"include_idle": "true"}, "agents"))
        resources.append(live("activity", {"limit": ACTIVITY_MOST}, "activities"))
    return rest_api_source(
        {
            "client": {
                "base_url": url,
                "auth": {"type": "bearer", "token": key},
                "paginator": {"type": "offset", "limit": 100, "total_path": "pagination.total"},
            },
            "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
            "resources": resources,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--key", default="oxk_sandbox_" + "0" * 32)
    parser.add_argument("--parquet", action="store_true", help="load Parquet files instead of dlt's default")
    parser.add_argument("--organisation", action="store_true", help="every table, not only tasks")
    options = parser.parse_args()
    pipeline = dlt.pipeline("dlt_rest_api", destination=dlt.destinations.duckdb(options.database), dataset_name="orgx")
    source = make_source(options.url, options.key, organisation=options.organisation)
    pipeline.run(source, loader_file_format="parquet" if options.parquet else None)


if __name__ == "__main__":
    main()
