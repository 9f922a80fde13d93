"""A Singer tap that lists tasks of an OrgX server (Meltano Singer SDK docs, "Building taps" and "Pagination")."""

from __future__ import annotations

from typing import Any

import requests
from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.pagination import OffsetPaginator

PAGE_SIZE = 100


class EntitiesPaginator(OffsetPaginator):
    """Asks for the next page for as long as the server says that there is one."""

    def has_more(self, response: requests.Response) -> bool:
        """Return what the server says."""
        return bool(response.json()["pagination"]["has_more"])


class TasksStream(RESTStream):
    """Every task."""

    name = "tasks"
    path = "/api/entities"
    primary_keys = ("id",)
    records_jsonpath = "$.data[*]"
    schema = th.PropertiesList(
        th.Property("id", th.StringType, required=True),
        th.Property("title", th.StringType),
        th.Property("description", th.StringType),
        th.Property("status", th.StringType),
        th.Property("priority", th.StringType),
        th.Property("initiative_id", th.StringType),
        th.Property("workstream_id", th.StringType),
        th.Property("milestone_id", th.StringType),
        th.Property("sequence", th.IntegerType),
        th.Property("type", th.StringType),
        th.Property("assigned_agent_ids", th.ArrayType(th.StringType)),
        th.Property("expected_duration_hours", th.NumberType),
        th.Property(
            "metadata",
            th.ObjectType(
                th.Property("ref", th.StringType),
                th.Property(
                    "estimate",
                    th.ObjectType(th.Property("hours", th.NumberType), th.Property("confidence", th.NumberType)),
                ),
                th.Property("tags", th.ArrayType(th.StringType)),
            ),
        ),
        th.Property("workspace_id", th.StringType),
        th.Property("created_at", th.DateTimeType),
        th.Property("updated_at", th.DateTimeType),
    ).to_dict()

    @property
    def url_base(self) -> str:
        """Return the address of the server."""
        return str(self.config["api_url"])

    @property
    def authenticator(self) -> BearerTokenAuthenticator:
        """Return what signs each request."""
        return BearerTokenAuthenticator(token=self.config["auth_token"])

    def get_new_paginator(self) -> EntitiesPaginator:
        """Return the paginator of one run."""
        return EntitiesPaginator(start_value=0, page_size=PAGE_SIZE)

    def get_url_params(self, context: Any, next_page_token: int | None) -> dict[str, Any]:
        """Return the parameters of one page."""
        return {"type": "task", "limit": PAGE_SIZE, "offset": next_page_token or 0}


class TapOrgX(Tap):
    """The tap, which has one stream."""

    name = "tap-orgx"
    config_jsonschema = th.PropertiesList(
        th.Property("api_url", th.StringType, required=True),
        th.Property("auth_token", th.StringType, required=True, secret=True),
    ).to_dict()

    def discover_streams(self) -> list[TasksStream]:
        """Return the streams of the tap."""
        return [TasksStream(self)]


if __name__ == "__main__":
    TapOrgX.cli()
