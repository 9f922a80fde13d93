"""Verifies a load: compares its content with the rows stored under its id, and repairs differences.

The content of a load is recorded in the state of its package, so that another process can verify it too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlt.common.storages.exceptions import LoadPackageNotFound
from dlt.common.storages.load_package import ParsedLoadJobFileName

from orgx_source.rows.handed import Handed
from orgx_source.warehouse.dataset import Warehouse

logger = logging.getLogger(__name__)

_HANDED = "orgx_handed"
# Jobs that dlt adds itself after those with rows.
_MADE_BY_DLT = frozenset({"sql", "reference"})


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A table that lacks part of a load.

    Attributes:
        table: The table's name in the warehouse.
        handed: Rows in the load, each key once.
        rows: Rows stored under its id.
        keys: Distinct keys among them.
        mended: Whether it is complete after the load was repeated.
    """

    table: str
    handed: int
    rows: int
    keys: int
    mended: bool = False

    def __str__(self) -> str:
        if (self.rows, self.keys) == (self.handed, self.handed):
            arrived = "but some were altered"
        else:
            doubled = f", {self.rows - self.keys} of them more than once" if self.rows > self.keys else ""
            arrived = f"{self.rows} arrived{doubled}"
        ending = "the load was repeated and is now complete" if self.mended else "the load does not count"
        return f"{self.table}: {self.handed} rows were loaded, {arrived}; {ending}"


def note_handed(state: dict[str, Any], handed: Mapping[str, Handed], keys: Mapping[str, Sequence[str]]) -> None:
    """Record the content of a load in the state of its package, or in a state stored with the data.

    Args:
        state: dlt's dictionary; changed in place.
        handed: Warehouse table to its content.
        keys: Warehouse table to its key columns.
    """
    noted = state.setdefault(_HANDED, {})
    for name, rows in handed.items():
        noted[name] = {**rows.to_json(), "key": list(keys[name])}


def handed_in(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the content recorded by `note_handed`."""
    return dict(state.get(_HANDED, {}))


def forget_handed(state: dict[str, Any]) -> None:
    """Remove the content recorded by `note_handed`."""
    state.pop(_HANDED, None)


def compare(warehouse: Warehouse, load_id: str, tables: Mapping[str, dict[str, Any]]) -> Iterator[Shortfall]:
    """Yield the tables that lack part of a load.

    Args:
        warehouse: Their warehouse.
        load_id: The load.
        tables: The result of `handed_in`.
    """
    for name, noted in tables.items():
        handed = Handed.from_json(noted)
        rows, keys, checksum = warehouse.arrived(name, noted["key"], load_id)
        if (rows, keys) != (handed.rows, handed.rows) or checksum not in (None, handed.checksum):  # guard: arrival
            yield Shortfall(name, handed.rows, rows, keys)


class Arrival:
    """Verifies the packages of one pipeline after they were loaded."""

    def __init__(self, pipeline: Any, warehouse: Warehouse) -> None:
        """Prepare; sends no query.

        Args:
            pipeline: The pipeline.
            warehouse: Its dataset.
        """
        self._pipeline = pipeline
        self._warehouse = warehouse

    def shortfalls(self, load_ids: Sequence[str]) -> dict[str, list[Shortfall]]:
        """Return the incomplete loads, with their tables.

        Raises:
            DestinationError: The destination cannot be reached.
        """
        handed = {load_id: noted for load_id in load_ids if (noted := self._handed(load_id))}
        if not handed:
            # Without changes, no file is opened for this.
            return {}
        with self._warehouse.kept_open():
            found = {load_id: list(compare(self._warehouse, load_id, noted)) for load_id, noted in handed.items()}
        return {load_id: shortfalls for load_id, shortfalls in found.items() if shortfalls}

    def _handed(self, load_id: str) -> dict[str, dict[str, Any]]:
        if not self._warehouse.can_be_asked:
            return {}
        try:
            state = self._pipeline.get_load_package_state(load_id)
        except LoadPackageNotFound:
            # dlt deletes a package without anything to load.
            return {}
        return handed_in(state.get("destination_state", {}))

    def unproven(self) -> list[str]:
        """Return the loads that an earlier run completed but did not verify.

        Only the newest load of a dataset can be verified: later ones have overwritten rows of older ones.
        """
        waiting = [load_id for load_id in self._pipeline.list_completed_load_packages() if self._handed(load_id)]
        if not waiting:
            return []
        newest = self._warehouse.newest_load()
        self.settle([load_id for load_id in waiting if load_id != newest])
        return [load_id for load_id in waiting if load_id == newest]

    def settle(self, load_ids: Sequence[str]) -> None:
        """Delete verified packages: their rows are in the warehouse."""
        storage = self._pipeline._get_load_storage()
        for load_id in load_ids:
            # A package with a failed job is kept for analysis.
            if self._handed(load_id) and not storage.list_failed_jobs_in_loaded_package(load_id):
                storage.delete_loaded_package(load_id)

    def take_back(self, load_id: str) -> bool:
        """Queue an incomplete load again; return whether its package still exists.

        It no longer counts, in case this process ends here. Its versions are deleted from the append-only histories;
        the rows of a table are replaced when they are merged again.

        Raises:
            DestinationError: The destination cannot be reached.
        """
        self._warehouse.revoke_loads([load_id])
        storage = self._pipeline._get_load_storage()
        package = Path(storage.storage.make_full_path(storage.get_loaded_package_path(load_id)))
        jobs = [file for file in sorted((package / "completed_jobs").glob("*")) if _brings_rows(file)]
        if not jobs:
            return False
        for name, noted in self._handed(load_id).items():
            if len(noted["key"]) > 1:
                self._warehouse.delete_load(name, load_id)
        for file in (package / "completed_jobs").glob("*"):
            if file in jobs:
                file.rename(package / "new_jobs" / file.name)
            else:
                file.unlink()
        (package / "package_completed.json").unlink()
        # Last: until now, no run would load the package.
        storage.storage.rename_tree(
            storage.get_loaded_package_path(load_id), storage.get_normalized_package_path(load_id)
        )
        return True


def _brings_rows(file: Path) -> bool:
    """Return whether a job loads our rows: dlt's own tables accept no duplicates and are not counted."""
    job = ParsedLoadJobFileName.parse(file.name)
    return job.file_format not in _MADE_BY_DLT and not job.table_name.startswith("_dlt_")
