"""Response bodies: decompressed up to a size limit, and converted to UTF-8."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable

# Requested encodings; any other is refused.
CODINGS = "gzip, deflate"
# Compressed by the server and again by a proxy.
MAX_CODINGS = 2
_GZIP_OR_ZLIB, _RAW_DEFLATE = 47, -15


class BodyTooLargeError(Exception):
    """The body exceeds the size limit."""


def collect(parts: Iterable[bytes], most: int, *, cut: bool = False) -> bytes:
    """Join the parts of a body.

    Args:
        parts: The parts as received.
        most: Maximum number of bytes.
        cut: Truncate a longer body instead of raising.

    Raises:
        BodyTooLargeError: There are more.
    """
    body = bytearray()
    for part in parts:
        body += part
        if len(body) > most:
            if cut:
                return bytes(body[:most])
            raise BodyTooLargeError
    return bytes(body)


def unpack(body: bytes, codings: str, most: int, *, cut: bool = False) -> bytes:
    """Return the decompressed body, in UTF-8.

    Args:
        body: The body as received.
        codings: The header ``Content-Encoding``.
        most: Maximum number of bytes after each step.
        cut: Truncate a longer body, and accept a truncated one.

    Raises:
        BodyTooLargeError: There are more.
        ValueError: It does not match the header, or the encoding was not requested.
    """
    names = [name.strip().lower() for name in codings.split(",") if name.strip()]
    if len(names) > MAX_CODINGS:
        raise ValueError(f"is compressed {len(names)} times")
    for name in reversed(names):
        if name in ("gzip", "x-gzip", "deflate"):
            body = _inflate(body, name, most, cut=cut)
        elif name != "identity":
            raise ValueError(f"is compressed as {name[:40]}, which was not requested")
    return _as_utf8(body)


def _inflate(body: bytes, name: str, most: int, *, cut: bool) -> bytes:
    if not body:
        return body
    try:
        unpacked, ended = _inflated(body, _GZIP_OR_ZLIB, most + 1)
    except zlib.error:
        if name != "deflate":
            raise ValueError("is not valid gzip") from None
        unpacked, ended = _raw_inflated(body, most + 1)
    if len(unpacked) > most and not cut:  # guard: unpacked-size
        raise BodyTooLargeError
    if not ended and not cut:
        raise ValueError(f"is truncated ({name})")
    return unpacked[:most]


def _raw_inflated(body: bytes, most: int) -> tuple[bytes, bool]:
    # Some servers send raw deflate, without a header.
    try:
        return _inflated(body, _RAW_DEFLATE, most)
    except zlib.error:
        raise ValueError("is not valid deflate") from None


def _inflated(body: bytes, wbits: int, most: int) -> tuple[bytes, bool]:
    unpacker = zlib.decompressobj(wbits)
    return unpacker.decompress(body, most), unpacker.eof


def _as_utf8(body: bytes) -> bytes:
    """Return a UTF-16 or UTF-32 body in UTF-8, so that the key can be masked; a UTF-8 body unchanged."""
    if b"\x00" not in body[:4] and body[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return body
    return body.decode(json.detect_encoding(body), "replace").encode()
