"""Masks the key in responses, in every escaped form that a later reader would decode."""

from __future__ import annotations

import re

MASK = "oxk_***"
# A letter, digit, hyphen or underscore escaped without need, in JSON or a URL. A page of 57 kB takes 20 us without the
# marks, 80 us more for each mark, and 3 ms with such a character.
_ESCAPED = (
    (b"\\u00", re.compile(rb"\\u00(?:2[dD]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF])")),
    (b"%", re.compile(rb"%(?:2[dD]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF])")),
)


class KeyMask:
    """Masks one key, including forms with JSON or URL escapes."""

    def __init__(self, key: str) -> None:
        """Prepare.

        Args:
            key: The key.
        """
        self._key = key.encode()
        # Bounds the backslashes: in a body of backslashes, the search would be quadratic.
        spelt = "".join(rf"(?:{re.escape(c)}|%{ord(c):02x}|\\{{1,8}}u00{ord(c):02x})" for c in key)
        # In any case: host names are lowercased.
        self._text = re.compile(spelt, re.IGNORECASE | re.ASCII)
        self._bytes = re.compile(spelt.encode(), re.IGNORECASE)

    def in_body(self, body: bytes) -> bytes:
        """Return a body with the key masked; JSON stays valid. An upper-case copy is not a key."""
        if self._key in body or any(mark in body and escaped.search(body) for mark, escaped in _ESCAPED):
            return self._bytes.sub(MASK.encode(), body)
        return body

    def in_text(self, text: str) -> str:
        """Return a text with the key masked."""
        return self._text.sub(MASK, text)
