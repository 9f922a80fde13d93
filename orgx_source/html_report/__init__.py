"""The marts as one HTML file for readers without SQL or Jupyter: it needs only a browser.

`content` decides what the page shows, `page` writes the HTML; the charts come from `charts`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from orgx_source.errors import ConfigError, OrgxError
from orgx_source.files import UNFINISHED, whole_file


def write_report(pipeline: Any, output: Path) -> None:
    """Write the report of a dataset; an existing file is replaced atomically.

    Args:
        pipeline: A pipeline from `make_pipeline`.
        output: The file to write.

    Raises:
        ConfigError: The packages for drawing are not installed.
        DestinationError: The destination cannot be read, or has no marts yet.
        OrgxError: The file cannot be written.
    """
    content, page = _import_pictures()
    from orgx_source.html_report.facts import read_facts
    from orgx_source.marts.reading import read_marts

    with read_marts(pipeline) as marts:
        facts = read_facts(marts)
    _replace(output, page.render(content.compose(facts)))


def _import_pictures() -> tuple[Any, Any]:
    try:
        from orgx_source.html_report import content, page
    except ImportError as error:
        raise ConfigError(f"The report needs the package {error.name!r}: pip install 'orgx-source[report]'") from None
    return content, page


def _replace(output: Path, text: str) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(output, unfinished=f".{output.name}.{os.getpid()}{UNFINISHED}") as unfinished:
            # The browser checks the hashes of the scripts against these exact bytes.
            unfinished.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise OrgxError(f"{output} could not be written: {error.strerror or error}.") from None
