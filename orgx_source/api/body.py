"""The body of an answer as bytes: unpacked as far as it may grow, and in UTF-8."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable

# What is asked for; anything else that comes is refused.
CODINGS = "gzip, deflate"
# Once packed and once more by a proxy.
MAX_CODINGS = 2
_GZIP_OR_ZLIB, _RAW_DEFLATE = 47, -15


class BodyTooLargeError(Exception):
    """More bytes than an answer may have."""


def collect(parts: Iterable[bytes], most: int, *, cut: bool = False) -> bytes:
    """Return what comes, put together.

    Args:
        parts: The parts as they come.
        most: Bytes that may come.
        cut: Return the beginning of a longer body.

    Raises:
        BodyTooLargeError: More came.
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
    """Return a body as it was before it was packed, in UTF-8.

    Args:
        body: As it came.
        codings: The header ``Content-Encoding``.
        most: Bytes that it may have at each step.
        cut: Return the beginning of a body that is longer or was cut.

    Raises:
        BodyTooLargeError: It has more.
        ValueError: It is not packed as the header says, or in a way that was not asked for.
    """
    names = [name.strip().lower() for name in codings.split(",") if name.strip()]
    if len(names) > MAX_CODINGS:
        raise ValueError(f"is packed {len(names)} times")
    for name in reversed(names):
        if name in ("gzip", "x-gzip", "deflate"):
            body = _inflate(body, name, most, cut=cut)
        elif name != "identity":
            raise ValueError(f"is packed as {name[:40]}, which was not asked for")
    return _as_utf8(body)


def _inflate(body: bytes, name: str, most: int, *, cut: bool) -> bytes:
    if not body:
        return body
    try:
        unpacked, ended = _inflated(body, _GZIP_OR_ZLIB, most + 1)
    except zlib.error:
        if name != "deflate":
            raise ValueError("is not packed as gzip, as it says") from None
        unpacked, ended = _raw_inflated(body, most + 1)
    if len(unpacked) > most and not cut:  # guard: unpacked-size
        raise BodyTooLargeError
    if not ended and not cut:
        raise ValueError(f"is packed as {name} and cut off")
    return unpacked[:most]


def _raw_inflated(body: bytes, most: int) -> tuple[bytes, bool]:
    # What some servers call deflate has no header.
    try:
        return _inflated(body, _RAW_DEFLATE, most)
    except zlib.error:
        raise ValueError("is not packed as deflate, as it says") from None


def _inflated(body: bytes, wbits: int, most: int) -> tuple[bytes, bool]:
    unpacker = zlib.decompressobj(wbits)
    return unpacker.decompress(body, most), unpacker.eof


def _as_utf8(body: bytes) -> bytes:
    """Return a body of UTF-16 or UTF-32 in UTF-8, where the key is looked for; one in UTF-8 as it is."""
    if b"\x00" not in body[:4] and body[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return body
    return body.decode(json.detect_encoding(body), "replace").encode()
