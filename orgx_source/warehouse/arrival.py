"""Whether a load arrived: what it was handed, held against what stands under its id, and mended where they differ.

What a load is handed is written into the state of its package while it is made, so that another process can look too.
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
# Jobs that dlt adds by itself once those that bring rows are done.
_MADE_BY_DLT = frozenset({"sql", "reference"})


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A table that does not hold what a load was handed for it.

    Attributes:
        table: Its name in the warehouse.
        handed: Rows that the load was handed, each key once.
        rows: Rows that stand under its id.
        keys: Different keys among them.
        mended: Whether all is there since the load was done once more.
    """

    table: str
    handed: int
    rows: int
    keys: int
    mended: bool = False

    def __str__(self) -> str:
        if (self.rows, self.keys) == (self.handed, self.handed):
            arrived = "some of them changed"
        else:
            doubled = f", {self.rows - self.keys} of them more than once" if self.rows > self.keys else ""
            arrived = f"{self.rows} arrived{doubled}"
        ending = "the load was repeated and is complete now" if self.mended else "the load does not count"
        return f"{self.table}: {self.handed} rows were loaded, {arrived}; {ending}"


def note_handed(state: dict[str, Any], handed: Mapping[str, Handed], keys: Mapping[str, Sequence[str]]) -> None:
    """Write what a load is handed into the state of its package, or into one that is kept with the data.

    Args:
        state: dlt's dictionary; changed in place.
        handed: Table of the warehouse to what it is handed.
        keys: Table of the warehouse to the columns that no two of its rows share.
    """
    noted = state.setdefault(_HANDED, {})
    for name, rows in handed.items():
        noted[name] = {**rows.to_json(), "key": list(keys[name])}


def handed_in(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what `note_handed` wrote."""
    return dict(state.get(_HANDED, {}))


def forget_handed(state: dict[str, Any]) -> None:
    """Take out what `note_handed` wrote."""
    state.pop(_HANDED, None)


def compare(warehouse: Warehouse, load_id: str, tables: Mapping[str, dict[str, Any]]) -> Iterator[Shortfall]:
    """Yield the tables that do not hold what a load was handed for them.

    Args:
        warehouse: Where they are.
        load_id: The load.
        tables: What `handed_in` gave.
    """
    for name, noted in tables.items():
        handed = Handed.from_json(noted)
        rows, keys, checksum = warehouse.arrived(name, noted["key"], load_id)
        if (rows, keys) != (handed.rows, handed.rows) or checksum not in (None, handed.checksum):  # guard: arrival
            yield Shortfall(name, handed.rows, rows, keys)


class Arrival:
    """Looks at the packages of one pipeline after they were loaded."""

    def __init__(self, pipeline: Any, warehouse: Warehouse) -> None:
        """Prepare; nothing is asked.

        Args:
            pipeline: The pipeline.
            warehouse: Its dataset.
        """
        self._pipeline = pipeline
        self._warehouse = warehouse

    def shortfalls(self, load_ids: Sequence[str]) -> dict[str, list[Shortfall]]:
        """Return the loads that did not arrive as they were handed over, and in which tables.

        Raises:
            DestinationError: The destination cannot be reached.
        """
        handed = {load_id: noted for load_id in load_ids if (noted := self._handed(load_id))}
        if not handed:
            # A night on which nothing changed opens no file for this.
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
            # dlt throws a package away in which there is nothing to load.
            return {}
        return handed_in(state.get("destination_state", {}))

    def unproven(self) -> list[str]:
        """Return the loads that an earlier run completed and did not get to look at.

        Only the newest load of a dataset can be looked at: later ones have overwritten what older ones brought.
        """
        waiting = [load_id for load_id in self._pipeline.list_completed_load_packages() if self._handed(load_id)]
        if not waiting:
            return []
        newest = self._warehouse.newest_load()
        self.settle([load_id for load_id in waiting if load_id != newest])
        return [load_id for load_id in waiting if load_id == newest]

    def settle(self, load_ids: Sequence[str]) -> None:
        """Throw packages away that were looked at: what they brought stands in the warehouse."""
        storage = self._pipeline._get_load_storage()
        for load_id in load_ids:
            # One of which a job failed is kept for whoever wants to see why.
            if self._handed(load_id) and not storage.list_failed_jobs_in_loaded_package(load_id):
                storage.delete_loaded_package(load_id)

    def take_back(self, load_id: str) -> bool:
        """Make a load that did not arrive wait once more, and return whether its package is still there.

        It counts no longer, so that nobody builds on it when this process ends here. Its versions are taken out of the
        histories, which else only grow; the rows of a table go when they are merged again.

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
        # At last: until here the package is none that a run would load.
        storage.storage.rename_tree(
            storage.get_loaded_package_path(load_id), storage.get_normalized_package_path(load_id)
        )
        return True


def _brings_rows(file: Path) -> bool:
    """Return whether a job brings rows of ours: dlt's own tables take none twice, and nobody counts them."""
    job = ParsedLoadJobFileName.parse(file.name)
    return job.file_format not in _MADE_BY_DLT and not job.table_name.startswith("_dlt_")
