"""Parses a response body into a `Page`, or raises an error that says why it cannot.

The only module that knows OrgX's envelopes. It uses no network, dlt or tables.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from orgx_source.errors import (
    AddressError,
    ApiError,
    AuthError,
    EnvelopeError,
    RateLimitError,
    RouteClosedError,
    ServerError,
)
from orgx_source.tables import Row as Row

EXCERPT_CHARACTERS = 200

# orjson silently turns integers beyond 64 bits into floats; the standard library keeps them. A regular expression for
# their 19 digits takes six times as long as orjson itself (560 against 90 us a page), this half.
_ANY_DIGIT = bytes.maketrans(b"123456789", b"000000000")
_LONG_INTEGER = b"0" * 19
# The value of a key that names a secret, such as preview_token; it may be truncated.
_SECRET_VALUE = re.compile(
    r'("[\w\- ]*(?:token|secret|password|passwd|credentials?|api_?key|private_?key|authorization|cookie)" ?: ?)'
    r'(?:"(?:[^"\\]|\\.)*"?|[^\s,}\]]+)',
    re.IGNORECASE,
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"
# 408 and 425 ask for a retry, 423 is a temporary lock, 429 a rate limit. Not 409: OrgX returns it for an outdated
# version, which a retry does not change.
_PASSING = frozenset({408, 423, 425, 429})
# 5xx codes that depend on the request or the client: not implemented, HTTP version, negotiation loop, loop detected,
# extensions, network login required.
_LASTING = frozenset({501, 505, 506, 508, 510, 511})


def may_pass(status: int) -> bool:
    """Return whether a read that failed with this status may be retried."""
    return status in _PASSING or (status >= 500 and status not in _LASTING)


Unfold = Callable[[Mapping[str, Any], list[Row] | None], list[Row] | None]
"""Builds rows from a response and the list found in it."""


@dataclass(frozen=True, slots=True)
class Page:
    """One response of a list route.

    Attributes:
        rows: The rows as OrgX sent them, with storable text (`parse_json`).
        total: Number of matching rows, if given.
        offset: Offset that OrgX echoes, if any.
        limit: Page size that OrgX echoes; it may be smaller than requested.
        has_more: Whether OrgX says that there is another page. Also True if it says that it truncated the response, or
            names a next page in a form that cannot be sent back.
        next_cursor: Opaque cursor of the next page, as text; None if there is none.
        names_no_cursor: Whether the cursor field is present but empty, which marks the last page.
    """

    rows: Sequence[Row]
    total: int | None = None
    offset: int | None = None
    limit: int | None = None
    has_more: bool | None = None
    next_cursor: str | None = None
    names_no_cursor: bool = False

    def is_all(self, asked: int | None) -> bool | None:
        """Return whether a response from the start of a list is the full list; None if it does not say.

        A short response proves nothing: a server may return fewer rows than requested without saying so.

        Args:
            asked: Requested limit; None if it was left to OrgX.
        """
        came = len(self.rows)
        if self.has_more or self.next_cursor is not None or (self.total is not None and self.total > came):
            return False
        if self.has_more is False or (self.limit is not None and came < self.limit):
            return True
        # A total equal to a full response may count only that response.
        full = self.limit if self.limit is not None else asked
        return True if self.total == came and (full is None or came < full) else None


def parse_json(body: bytes) -> Any:
    r"""Parse a JSON body so that no value is lost and every text can be stored.

    Integers keep all their digits. ``NaN`` and numbers beyond a double, which JSON columns refuse, become text
    (``"NaN"``, ``"Infinity"``). ``\u0000`` and lone surrogates, which text columns refuse, become U+FFFD.

    Raises:
        ValueError: The body is not JSON, or is nested deeper than the interpreter can follow.
    """
    if b"\\u0000" not in body and _LONG_INTEGER not in body.translate(_ANY_DIGIT):
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    try:
        return _make_safe(json.loads(body))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _make_safe(value: Any) -> Any:
    if isinstance(value, str):
        if "\x00" in value or _SURROGATE.search(value):
            return _SURROGATE.sub(_REPLACEMENT, value.replace("\x00", _REPLACEMENT))
        return value
    if isinstance(value, dict):
        return _with_safe_keys({key: _make_safe(item) for key, item in value.items()})
    if isinstance(value, list):
        return [_make_safe(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def _with_safe_keys(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document of which no two keys become one, in whatever order they come."""
    unsafe = sorted(key for key in document if _make_safe(key) != key)
    for key in unsafe:
        name = _make_safe(key)
        while name in document:
            name += _REPLACEMENT
        document[name] = document.pop(key)
    return document


def parse_page(
    body: bytes,
    *,
    keys: Sequence[str],
    path: str,
    content_type: str = "",
    status: int = 200,
    unfold: Unfold | None = None,
) -> Page:
    """Read the rows of a list response, whichever envelope it uses.

    Args:
        body: The raw body.
        keys: Names under which this route's rows may appear, such as ``("data", "decisions")``; the first match wins.
            Searched at the top level, then inside ``data``.
        path: Path of the request, for the error.
        content_type: Content type of the response, for the error.
        status: HTTP status of the response, for the error.
        unfold: Builds the rows from the response and the list found in it, which may be None.

    Raises:
        EnvelopeError: Not JSON, ``ok: false``, or no list under any of the keys.
    """
    document = parse_document(body, path=path, content_type=content_type, status=status)
    try:
        scope, listed, rows = _rows_of(document, keys, unfold)
    except ValueError as problem:
        raise envelope_error(str(problem), body, path, content_type, status) from None
    pagination = _mapping(document, "pagination") or _mapping(scope, "pagination")
    meta = _mapping(document, "meta") or _mapping(scope, "meta")
    has_more, next_cursor, names_no_cursor = _continuation((pagination, meta, document, scope))
    # The total counts the items listed.
    totals = (pagination, document, scope, _mapping(scope, "summary"), meta) if len(listed or ()) == len(rows) else ()
    return Page(
        rows=rows,
        total=_first_int(*(place.get("total") for place in totals)) if listed is not None else None,
        offset=_first_int(pagination.get("offset")),
        limit=_first_int(pagination.get("limit"), meta.get("limit")),
        has_more=has_more,
        next_cursor=next_cursor,
        names_no_cursor=names_no_cursor,
    )


def _continuation(places: Sequence[Mapping[str, Any]]) -> tuple[bool | None, str | None, bool]:
    """Return whether more rows follow, the next cursor, and whether the cursor field is empty."""
    cursors = _values(places, "next_cursor", "nextCursor")
    links = [link for place in places for name in ("links", "_links") if (link := _next_link(place.get(name)))]
    next_cursor = _first_scalar(*cursors, *map(_cursor_of_link, links))
    # A cursor that cannot be sent back still means that more rows follow.
    promised = any(cut is True for cut in _values(places, "truncated")) or (
        next_cursor is None and any([*cursors, *links])
    )
    stated = _first_bool(*_values(places, "has_more", "hasMore"))
    return promised or stated, next_cursor, bool(cursors) and next_cursor is None and not promised


def _rows_of(
    document: Mapping[str, Any], keys: Sequence[str], unfold: Unfold | None
) -> tuple[Mapping[str, Any], list[Row] | None, list[Row]]:
    """Return the object that holds the list, the list, and its rows.

    Raises:
        ValueError: There is no list of objects; the message says what was found.
    """
    scope, rows = _find_rows(document, keys)
    if rows is None and _says_empty(document, keys):
        rows = []
    listed = rows
    if unfold is not None:
        rows = unfold(document, rows)
    if rows is None:
        found = ", ".join(name[:EXCERPT_CHARACTERS] for name in sorted(document)[:8]) or "nothing"
        raise ValueError(f"no list under any of {', '.join(keys)} (the response has: {found})")
    if not rows and (document.get("error") or document.get("errors")):
        raise ValueError(f"an error instead of rows ({_Problem.of(document).text or 'no reason given'})")
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("the list holds something other than objects")
    return scope, listed, rows


def parse_object(body: bytes, *, path: str, content_type: str = "", status: int = 200) -> Row:
    """Read a body that must be a JSON object, whatever its status fields say.

    Raises:
        EnvelopeError: It is anything else.
    """
    try:
        document = parse_json(body)
    except ValueError as error:
        raise envelope_error(f"the body is not JSON ({_reason(error)})", body, path, content_type, status) from None
    if not isinstance(document, dict):
        raise envelope_error(f"expected a JSON object, got {type(document).__name__}", body, path, content_type, status)
    return document


def parse_document(body: bytes, *, path: str, content_type: str = "", status: int = 200) -> dict[str, Any]:
    """Read a body that must be a JSON object without ``ok: false``.

    Raises:
        EnvelopeError: It is anything else.
    """
    document = parse_object(body, path=path, content_type=content_type, status=status)
    if document.get("ok") is False:
        problem = _Problem.of(document)
        raise envelope_error(
            f"OrgX says ok: false ({problem.text or 'no reason given'})",
            body,
            path,
            content_type,
            status,
            problem.request_id,
        )
    return document


def parse_workspace(body: bytes, *, path: str, content_type: str = "", status: int = 200) -> Row:
    """Read the bootstrap response: the row of the workspace that the key resolves to.

    Shape: ``id``, ``name`` and all other fields of ``data.workspace``, plus ``source_client``, ``capabilities`` and
    ``setup`` from next to it.

    Raises:
        EnvelopeError: It has no workspace with an id.

    Source: API overview, first call (bootstrap).
    """
    document = parse_document(body, path=path, content_type=content_type, status=status)
    scope = _mapping(document, "data") or document
    workspace = _mapping(scope, "workspace")
    if not workspace.get("id"):
        raise envelope_error("no workspace with an id", body, path, content_type, status)
    beside = {key: value for key, value in scope.items() if key != "workspace"}
    return {**beside, **workspace}


def parse_error(status: int, body: bytes, *, path: str, content_type: str = "", bootstrap: bool = False) -> ApiError:
    """Convert a response with an error status to the matching exception.

    Args:
        status: HTTP status outside 200 to 299.
        body: The raw body: OrgX's simple shape (``error`` is text), its structured one (``error`` is an
            object), or a proxy's page.
        path: Path of the request.
        content_type: Content type of the response.
        bootstrap: Whether the path is open to every valid key, so that a 401 means that the key is invalid.
    """
    problem = _Problem.of_body(body)
    said = f": {problem.text}" if problem.text else ""
    details: Any = {"status": status, "path": path, "code": problem.code, "request_id": problem.request_id}
    if status == 401 and bootstrap:
        return AuthError(
            f"401 from {path}: the key was refused. Check SOURCES__ORGX__API_KEY (or ORGX_API_KEY){said}", **details
        )
    if status == 404 and bootstrap:
        return AddressError(
            f"404 from {path}, which every OrgX serves. Check SOURCES__ORGX__BASE_URL (or ORGX_BASE_URL){said}",
            **details,
        )
    if status in (401, 403, 404):
        why = {401: "does not accept this key", 403: "is not permitted for this key", 404: "does not exist"}[status]
        return RouteClosedError(f"{status} from {path}: this route {why}{said}", **details)
    if status == 429:
        return RateLimitError(f"429 from {path}: the rate limit is used up{said}", **details)
    if may_pass(status):
        return ServerError(f"{status} from {path}{said or ': ' + excerpt(body, content_type)}", **details)
    return ApiError(f"{status} from {path}{said or ': ' + excerpt(body, content_type)}", **details)


def envelope_error(
    problem: str, body: bytes, path: str, content_type: str, status: int, request_id: str | None = None
) -> EnvelopeError:
    """Build the error for an unreadable response, with the start of its body."""
    return EnvelopeError(
        f"{status} from {path}, but {problem}; {excerpt(body, content_type)}",
        status=status,
        path=path,
        request_id=request_id or _Problem.of_body(body).request_id,
    )


def excerpt(body: bytes, content_type: str) -> str:
    """Describe a body: content type and its first 200 characters on one line."""
    text = " ".join(body[: EXCERPT_CHARACTERS * 4].decode("utf-8", "replace").split())
    text = _SECRET_VALUE.sub(r"\1***", text)[:EXCERPT_CHARACTERS]
    return f"content type {content_type or 'missing'}, body starts: {text!r}"


@dataclass(frozen=True, slots=True)
class _Problem:
    """The content of an error body, in either of OrgX's two formats."""

    text: str = ""
    code: str | None = None
    request_id: str | None = None

    @classmethod
    def of_body(cls, body: bytes) -> _Problem:
        try:
            document = parse_json(body)
        except ValueError:
            return cls()
        return cls.of(document) if isinstance(document, dict) else cls()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> _Problem:
        error = document.get("error")
        inner: Mapping[str, Any] = error if isinstance(error, dict) else {}
        words = [error if isinstance(error, str) else "", inner.get("message"), document.get("message")]
        text = ", ".join(str(word) for word in words if word)[:EXCERPT_CHARACTERS]
        return cls(
            text=text,
            code=_first_text(inner.get("code"), document.get("code")),
            request_id=_first_text(inner.get("request_id"), document.get("request_id")),
        )


def _find_rows(document: Mapping[str, Any], keys: Sequence[str]) -> tuple[Mapping[str, Any], list[Row] | None]:
    scopes = [document, _mapping(document, "data")]
    for scope in scopes:
        for key in keys:
            if isinstance(scope.get(key), list):
                return scope, scope[key]
    return document, None


def _says_empty(document: Mapping[str, Any], keys: Sequence[str]) -> bool:
    """Return whether a value means an empty list: null, or an empty object with a total of 0."""
    data = _mapping(document, "data")
    places = (document, data)
    counted = [_mapping(place, name) for place in places for name in ("pagination", "summary", "meta")]
    totals = [place["total"] for place in (*places, *counted) if place.get("total") is not None]
    if any(total != 0 or isinstance(total, bool) for total in totals):
        return False
    more = _values((*places, *counted), "has_more", "hasMore", "truncated", "next_cursor", "nextCursor")
    found = [place[key] for place in places for key in keys if key in place]
    empty = [value for value in found if value is None or value == {}]
    if any(more) or any(value is not data and value not in empty for value in found):
        return False
    # Together with a message, null may be a refusal.
    return bool(empty) and (bool(totals) or (None in empty and not document.get("message")))


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _values(places: Sequence[Mapping[str, Any]], *names: str) -> list[Any]:
    return [place[name] for place in places for name in names if name in place]


def _next_link(links: Any) -> str:
    """Return the URL of the next page, plain or as ``href`` of an object; empty if there is none."""
    found = links.get("next") if isinstance(links, dict) else None
    found = found.get("href") if isinstance(found, dict) else found
    return found if isinstance(found, str) else ""


def _cursor_of_link(link: str) -> str | None:
    """Return the cursor in a URL; a text that is not a URL is itself the cursor."""
    if "/" not in link and "?" not in link:
        return link
    try:
        return next(iter(parse_qs(urlsplit(link).query).get("cursor", [])), None)
    except ValueError:
        # Looks like a URL but is not valid.
        return None


def _first_scalar(*values: Any) -> str | None:
    """Return the first non-empty text or number as text; 0 counts."""
    return next(
        (str(v) for v in values if isinstance(v, str | int | float) and not isinstance(v, bool) and v != ""), None
    )


def _first_int(*values: Any) -> int | None:
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0), None)


def _first_bool(*values: Any) -> bool | None:
    return next((v for v in values if isinstance(v, bool)), None)


def _first_text(*values: Any) -> str | None:
    return next((v for v in values if isinstance(v, str) and v), None)


def _reason(error: ValueError) -> str:
    return str(error).split(":")[0][:80]
