"""Where the warehouse is, as one value: a dlt destination, a dataset in it, and for DuckDB a file.

Imports nothing that takes time: a command knows its target before it decides whether it needs dlt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orgx_source.config import DEFAULT_DATABASE

FILE_DESTINATION = "duckdb"
# Behind a checksum of eight bytes.
MAGIC = b"DUCK"


def is_database(file: Path) -> bool:
    """Return whether a file begins like a DuckDB file.

    Raises:
        OSError: It cannot be read.
    """
    with file.open("rb") as opened:
        return opened.read(12)[8:] == MAGIC


@dataclass(frozen=True, slots=True)
class Target:
    """Where a dataset is.

    Attributes:
        destination: Name of a dlt destination, whose credentials dlt finds in its settings.
        dataset: Dataset (schema) of the tables.
        database: The DuckDB file; means nothing for any other destination.
        untested: Whether to use a destination with which this package was never tested.
    """

    destination: str = FILE_DESTINATION
    dataset: str = "orgx"
    database: Path = DEFAULT_DATABASE
    untested: bool = False

    @property
    def is_file(self) -> bool:
        """Whether it is a DuckDB file, rather than a server or a service."""
        return self.destination == FILE_DESTINATION

    @property
    def is_missing(self) -> bool:
        """Whether it is a file that does not exist yet; of a server, only its first use tells."""
        return self.is_file and not self.database.exists()

    @contextmanager
    def left_missing(self) -> Iterator[None]:
        """Delete the file again that did not exist before, and that only opening it has made."""
        was_missing = self.is_missing
        try:
            yield
        finally:
            if was_missing:
                self.database.unlink(missing_ok=True)

    def pipeline(self, *, read_only: bool = False) -> Any:
        """Return the dlt pipeline that fills it.

        Args:
            read_only: Whether it only reads a DuckDB file, as others may meanwhile.

        Raises:
            ConfigError: There is no such destination, or it is an untested one.
            MachineError: dlt's working directory cannot be created.
        """
        from orgx_source.warehouse.pipeline import pipeline_for

        return pipeline_for(self, read_only=read_only)
