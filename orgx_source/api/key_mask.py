"""The key in what OrgX sends back: found in every spelling that a later reader undoes, and masked."""

from __future__ import annotations

import re

MASK = "oxk_***"
# A letter, digit, hyphen or underscore that is escaped although nobody has to, in JSON and in an address. A page of
# 57 kB takes 20 us without the marks, 80 us more for each, and 3 ms when such a character is there.
_ESCAPED = (
    (b"\\u00", re.compile(rb"\\u00(?:2[dD]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF])")),
    (b"%", re.compile(rb"%(?:2[dD]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF])")),
)


class KeyMask:
    """Masks one key, also where some of its characters are escaped as JSON or addresses escape them."""

    def __init__(self, key: str) -> None:
        """Prepare.

        Args:
            key: The key.
        """
        self._key = key.encode()
        # A bound for the backslashes: a body of nothing else would be looked through from each of them to its end.
        spelt = "".join(rf"(?:{re.escape(c)}|%{ord(c):02x}|\\{{1,8}}u00{ord(c):02x})" for c in key)
        # Whatever case: a host is written small.
        self._text = re.compile(spelt, re.IGNORECASE | re.ASCII)
        self._bytes = re.compile(spelt.encode(), re.IGNORECASE)

    def in_body(self, body: bytes) -> bytes:
        """Return a body without the key; JSON stays JSON. A key in capitals is none, and costs no look."""
        if self._key in body or any(mark in body and escaped.search(body) for mark, escaped in _ESCAPED):
            return self._bytes.sub(MASK.encode(), body)
        return body

    def in_text(self, text: str) -> str:
        """Return a text without the key."""
        return self._text.sub(MASK, text)
