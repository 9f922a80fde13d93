"""Text for people: external text made safe to print, and suggestions for unknown names.

Safe means no cursor movement, colours or text-direction changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# C0, DEL and C1; direction marks and overrides; line separators; lone surrogates, which cannot be encoded.
_BEYOND_ASCII = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL = re.compile(f"[\x00-\x1f{_BEYOND_ASCII}]")
_CONTROL_BUT_LINES = re.compile(f"[\x00-\x08\x0b-\x1f{_BEYOND_ASCII}]")
_CONTROL_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, *, keep_lines: bool = False) -> str:
    r"""Return a text with control characters escaped, such as ``\x1b``; idempotent.

    Args:
        text: Any text.
        keep_lines: Keep line feeds and tabs.
    """
    return (_CONTROL_BUT_LINES if keep_lines else _CONTROL).sub(_written_out, text)


def visible_json(text: str) -> str:
    """Return JSON with the control characters escaped that JSON allows; the values stay the same."""
    return _CONTROL_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def unknown(what: str, name: str, known: Iterable[str], plural: str) -> str:
    """Return the message for an unknown name: the most similar one, and all known ones.

    Args:
        what: Kind of name, such as ``table``.
        name: The unknown name.
        known: The known names.
        plural: What the known names are called, such as ``tables``.
    """
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(name.lower(), names, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    if "," in name:
        hint = " (give one name at a time)"
    return f"unknown {what} {name!r}{hint}; known {plural}: {', '.join(names)}"


def _written_out(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
