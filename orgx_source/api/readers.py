"""One class per kind of paging; `open_route` chooses it."""

from __future__ import annotations

from orgx_source.api.feed_reader import FeedReader
from orgx_source.api.limits import Spending
from orgx_source.api.offset_reader import OffsetReader, WorkspacesReader
from orgx_source.api.plain_readers import (
    BootstrapReader,
    CursorReader,
    EntityReader,
    LimitReader,
    SnapshotReader,
    ToldReader,
    WindowReader,
)
from orgx_source.api.route_reader import Access, RouteReader
from orgx_source.api.routes import Paging, Route
from orgx_source.api.search_reader import SearchReader
from orgx_source.tables import Table

READERS: dict[Paging, type[RouteReader]] = {
    "offset": OffsetReader,
    "workspaces": WorkspacesReader,
    "bootstrap": BootstrapReader,
    "cursor": CursorReader,
    "limit": LimitReader,
    "feed": FeedReader,
    "by_entity": EntityReader,
    "snapshot": SnapshotReader,
    "window": WindowReader,
    "search": SearchReader,
    "told": ToldReader,
}


def open_route(access: Access, table: Table, route: Route, spending: Spending | None = None) -> RouteReader:
    """Return the reader of a table from a route; sends no request."""
    return READERS[route.paging](access, table, route, spending)
