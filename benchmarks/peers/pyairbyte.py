"""Tasks of an OrgX server into DuckDB with a low-code source (Airbyte docs, "PyAirbyte" and "Low-code connectors")."""

from __future__ import annotations

import argparse
import os
import tempfile
from typing import Any

os.environ.setdefault("AIRBYTE_OFFLINE_MODE", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

import airbyte as ab
from airbyte.caches import DuckDBCache


def nullable(kind: str, **more: Any) -> dict[str, Any]:
    """Return the JSON schema of a field that may be null."""
    return {"type": [kind, "null"], **more}


FIELDS = {
    "id": {"type": "string"},
    "title": nullable("string"),
    "description": nullable("string"),
    "status": nullable("string"),
    "priority": nullable("string"),
    "initiative_id": nullable("string"),
    "workstream_id": nullable("string"),
    "milestone_id": nullable("string"),
    "sequence": nullable("integer"),
    "type": nullable("string"),
    "assigned_agent_ids": nullable("array", items={"type": "string"}),
    "expected_duration_hours": nullable("number"),
    "metadata": nullable("object", additionalProperties=True),
    "workspace_id": nullable("string"),
    "created_at": nullable("string", format="date-time"),
    "updated_at": nullable("string", format="date-time"),
}
MANIFEST = {
    "version": "7.0.0",
    "type": "DeclarativeSource",
    "check": {"type": "CheckStream", "stream_names": ["tasks"]},
    "streams": [
        {
            "type": "DeclarativeStream",
            "name": "tasks",
            "primary_key": ["id"],
            "retriever": {
                "type": "SimpleRetriever",
                "requester": {
                    "type": "HttpRequester",
                    "url": "{{ config['api_url'] }}/api/entities",
                    "http_method": "GET",
                    "authenticator": {"type": "BearerAuthenticator", "api_token": "{{ config['api_key'] }}"},
                    "request_parameters": {"type": "task"},
                },
                "record_selector": {
                    "type": "RecordSelector",
                    "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
                },
                "paginator": {
                    "type": "DefaultPaginator",
                    "page_token_option": {
                        "type": "RequestOption",
                        "inject_into": "request_parameter",
                        "field_name": "offset",
                    },
                    "page_size_option": {
                        "type": "RequestOption",
                        "inject_into": "request_parameter",
                        "field_name": "limit",
                    },
                    "pagination_strategy": {"type": "OffsetIncrement", "page_size": 100},
                },
            },
            "schema_loader": {
                "type": "InlineSchemaLoader",
                "schema": {
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "type": "object",
                    "additionalProperties": True,
                    "properties": FIELDS,
                },
            },
        }
    ],
    "spec": {
        "type": "Spec",
        "connection_specification": {
            "type": "object",
            "required": ["api_url", "api_key"],
            "properties": {
                "api_url": {"type": "string"},
                "api_key": {"type": "string", "airbyte_secret": True},
            },
        },
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--key", default="oxk_sandbox_" + "0" * 32)
    options = parser.parse_args()
    config = {"api_url": options.url, "api_key": options.key}
    source = ab.get_source("source-orgx", source_manifest=MANIFEST, config=config)
    source.select_all_streams()
    # Files on their way to the database would otherwise stay in a folder below the working directory.
    with tempfile.TemporaryDirectory() as folder, DuckDBCache(db_path=options.database, cache_dir=folder) as cache:
        source.read(cache=cache)


if __name__ == "__main__":
    main()
