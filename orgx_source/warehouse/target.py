"""The location of the warehouse as one value: a dlt destination, a dataset and, for DuckDB, a file.

Imports nothing slow: a command needs its target before it decides whether to import dlt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orgx_source.config import DEFAULT_DATABASE
from orgx_source.errors import ConfigError, DestinationError

FILE_DESTINATION = "duckdb"
# After a checksum of eight bytes.
MAGIC = b"DUCK"


def is_database(file: Path) -> bool:
    """Return whether a file starts like a DuckDB file.

    Raises:
        OSError: It cannot be read.
    """
    with file.open("rb") as opened:
        return opened.read(12)[8:] == MAGIC


def empty_dataset(dataset: str) -> DestinationError:
    """Return the error for a dataset that no run has filled."""
    return DestinationError(f"The dataset {dataset} is empty; orgx-sync run fills it. --dataset selects another one")


@dataclass(frozen=True, slots=True)
class Target:
    """The location of a dataset.

    Attributes:
        destination: Name of a dlt destination; dlt reads its credentials from its settings.
        dataset: Dataset (schema) of the tables.
        database: The DuckDB file; ignored for other destinations.
        untested: Whether to allow a destination that this package was never tested with.
    """

    destination: str = FILE_DESTINATION
    dataset: str = "orgx"
    database: Path = DEFAULT_DATABASE
    untested: bool = False

    @property
    def is_file(self) -> bool:
        """Whether it is a DuckDB file, not a server or service."""
        return self.destination == FILE_DESTINATION

    @property
    def is_missing(self) -> bool:
        """Whether it is a file that does not exist yet; False for a server."""
        return self.is_file and not self.database.exists()

    def require(self) -> None:
        """Check that there is something to read.

        Raises:
            DestinationError: Its file does not exist yet.
        """
        if self.is_missing:
            raise DestinationError(
                f"{self.database} does not exist yet; orgx-sync run creates it. --database selects another file"
            )

    def require_folder(self) -> None:
        """Check that its file could be created.

        Raises:
            ConfigError: The file's folder does not exist.
        """
        folder = self.database.parent
        if self.is_file and not folder.is_dir():
            raise ConfigError(f"--database {self.database}: the folder {folder} does not exist. Create it")

    @contextmanager
    def left_missing(self) -> Iterator[None]:
        """Delete the file at the end if it did not exist before and opening created it.

        A file that a run uses or has filled meanwhile stays.
        """
        was_missing = self.is_missing
        try:
            yield
        finally:
            if was_missing and not self.is_missing:
                from orgx_source.warehouse.duckdb_file import delete_empty

                delete_empty(self.database)

    def pipeline(self, *, read_only: bool = False) -> Any:
        """Return its dlt pipeline.

        Args:
            read_only: Whether to open a DuckDB file read-only, as other processes may at the same time.

        Raises:
            ConfigError: There is no such destination, or it is an untested one.
            MachineError: dlt's working directory cannot be created.
        """
        from orgx_source.warehouse.pipeline import pipeline_for

        return pipeline_for(self, read_only=read_only)
