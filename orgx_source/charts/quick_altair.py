"""Imports altair without a slow dependency that no chart needs.

Altair imports jsonschema, which compiles a grammar for internationalized addresses if rfc3987_syntax is installed, as
with Jupyter: 2.8 of 3.5 seconds on two cores, for each report and each notebook. No chart contains such an address.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["alt"]

_GRAMMARS = "rfc3987_syntax"
_modules: dict[str, Any] = sys.modules

if "jsonschema" in _modules or _GRAMMARS in _modules:
    import altair as alt
else:
    # A module set to None cannot be imported; jsonschema then works without it.
    _modules[_GRAMMARS] = None
    try:
        import altair as alt
    finally:
        del _modules[_GRAMMARS]
