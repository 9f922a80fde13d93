"""Texts of others made fit to be shown: nothing in them moves a cursor, colours a terminal or turns a line around."""

from __future__ import annotations

import re

# C0, DEL and C1; marks and overrides of direction; separators of lines; lone surrogates, which no stream takes.
_BEYOND_ASCII = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL = re.compile(f"[\x00-\x1f{_BEYOND_ASCII}]")
_CONTROL_BUT_LINES = re.compile(f"[\x00-\x08\x0b-\x1f{_BEYOND_ASCII}]")
_CONTROL_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, *, keep_lines: bool = False) -> str:
    r"""Return a text with its control characters written out, such as ``\x1b``; a second time changes nothing.

    Args:
        text: Any text.
        keep_lines: Leave line feeds and tabs as they are.
    """
    return (_CONTROL_BUT_LINES if keep_lines else _CONTROL).sub(_written_out, text)


def visible_json(text: str) -> str:
    """Return JSON with the control characters that JSON leaves as they are escaped; the values stay the same."""
    return _CONTROL_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _written_out(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
