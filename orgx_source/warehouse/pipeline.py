"""The dlt pipeline that fills a dataset: its destination, its working directory, and dlt's settings."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.common.runtime.collector import NULL_COLLECTOR

from orgx_source.config import DEFAULT_DATABASE, dlt_defaults
from orgx_source.errors import ConfigError, MachineError
from orgx_source.explain import explain, first_words
from orgx_source.warehouse.duckdb_file import duckdb_credentials, duckdb_file
from orgx_source.warehouse.postgres import exact
from orgx_source.warehouse.target import Target

logger = logging.getLogger(__name__)

PIPELINE_NAME = "orgx"
DUCKDB_FORMAT = "sources.orgx.duckdb_format"


def make_pipeline(destination: str = "duckdb", dataset: str = "orgx", database: str | Path | None = None) -> Any:
    """Return the dlt pipeline that fills a dataset.

    Its working directory belongs to this one destination: what a run left behind must never be loaded elsewhere.

    Args:
        destination: Name of a dlt destination, whose credentials dlt finds in its settings.
        dataset: Dataset (schema) of the tables.
        database: DuckDB file; only for DuckDB, ``orgx.duckdb`` when it is not given.

    Raises:
        ConfigError: There is no such destination. Whether its package and settings can be used, its first use tells.
        MachineError: dlt's working directory cannot be made.
    """
    return pipeline_for(Target(destination, dataset, Path(database or DEFAULT_DATABASE)))


def pipeline_for(target: Target) -> Any:
    """Return the dlt pipeline that fills a target; see `make_pipeline`."""
    with dlt_defaults():
        return _open_pipeline(target)


def _open_pipeline(target: Target) -> Any:
    destination: Any = target.destination
    if target.is_file:
        path = target.database.resolve()
        address = str(path)
        destination = duckdb_file(credentials=duckdb_credentials(path), destination_name=target.destination)
        destination.newest_format = _wants_newest_format()
    else:
        address = _address(target.destination)
        destination = exact(target.destination)
    place = f"{target.destination}:{address}|{target.dataset}"
    digest = hashlib.blake2b(place.encode(), digest_size=6).hexdigest()
    working = Path(dlt.current.run_context().data_dir) / "orgx-sync" / digest
    try:
        pipeline = dlt.pipeline(
            PIPELINE_NAME,
            destination=destination,
            dataset_name=target.dataset,
            pipelines_dir=str(working),
            # Whatever somebody's settings say: a dataset of its own for each run, or words between those of --json.
            dev_mode=False,
            progress=NULL_COLLECTOR,
        )
        # Each step of a run would drop what the one before has loaded.
        pipeline.refresh = None
        return pipeline
    except UnknownDestinationModule:
        raise _no_such_destination(target.destination) from None
    except OSError as error:
        raise MachineError(f"dlt's working directory cannot be used: {first_words(error)}; see DLT_DATA_DIR") from None
    except Exception as error:
        raise explain(error) from None


def _wants_newest_format() -> bool:
    wanted: Any = dlt.config.get(DUCKDB_FORMAT) or "compatible"
    if wanted not in ("compatible", "newest"):
        raise ConfigError(f"{DUCKDB_FORMAT} (SOURCES__ORGX__DUCKDB_FORMAT) is {wanted!r}: compatible or newest")
    return bool(wanted == "newest")


def _no_such_destination(name: str) -> ConfigError:
    names = ", ".join(sorted(set(dlt.destinations.__all__) - {"destination", "dummy"}))
    if not re.fullmatch(r"\w+", name):
        # Perhaps an address with a password in it.
        return ConfigError(f"What was given as destination is no name of one. dlt's own are {names}")
    setting = f"DESTINATION__{name.upper()}__DESTINATION_TYPE"
    return ConfigError(f"dlt has no destination {name!r}. Its own are {names}; a name of yours needs {setting}")


def _address(destination: str) -> str:
    """Return where a destination is, as far as its settings tell; empty when they do not, which its first use says."""
    try:
        kind: Any = Destination.from_reference(destination)
        config: Any = kind.configuration(kind.spec(), accept_partial=True)
        url = getattr(config.credentials, "to_url", None)
        return f"{config.fingerprint()} {url().render_as_string(hide_password=True) if url else config}"
    except Exception:
        logger.debug("the address of %s is not known", destination, exc_info=True)
        return ""
