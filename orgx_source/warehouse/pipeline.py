"""Creates the dlt pipeline of a dataset: its destination, working directory and dlt settings."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import UnknownDestinationModule
from dlt.common.runtime.collector import NULL_COLLECTOR
from filelock import FileLock, Timeout

from orgx_source.config import DEFAULT_DATABASE, check_settings_files, dlt_defaults
from orgx_source.errors import ConfigError, DatasetTakenError, MachineError
from orgx_source.explain import explain, first_words
from orgx_source.warehouse.duckdb_file import duckdb_credentials, duckdb_file
from orgx_source.warehouse.postgres import exact
from orgx_source.warehouse.target import FILE_DESTINATION, Target

logger = logging.getLogger(__name__)

PIPELINE_NAME = "orgx"
DUCKDB_FORMAT = "sources.orgx.duckdb_format"
HOME = "orgx-sync"
OPENING = "opening.lock"
# A process that was stopped meanwhile must not stop all others.
OPENING_SECONDS = 30.0
# Destinations tested end to end. Each of dlt's others has its own merge.
TESTED = frozenset({"duckdb", "duckdb_file", "postgres", "postgres_exact"})
_UNTESTED = "_orgx_untested"


def make_pipeline(
    destination: str = "duckdb", dataset: str = "orgx", database: str | Path | None = None, *, untested: bool = False
) -> Any:
    """Return the dlt pipeline of a dataset.

    Its working directory belongs to this destination only: leftovers of a run must never be loaded elsewhere.

    Args:
        destination: Name of a dlt destination; dlt reads its credentials from its settings.
        dataset: Dataset (schema) of the tables.
        database: DuckDB file; only for DuckDB, by default ``orgx.duckdb``.
        untested: Whether to allow a destination other than DuckDB and PostgreSQL; by default from ``ORGX_UNTESTED``.

    Raises:
        ConfigError: There is no such destination, or it is an untested one. A missing package or invalid settings
            fail at the first use.
        MachineError: dlt's working directory cannot be created.
    """
    return pipeline_for(Target(destination, dataset, Path(database or DEFAULT_DATABASE), untested))


def pipeline_for(target: Target, *, read_only: bool = False) -> Any:
    """Return the dlt pipeline of a target, or one that only reads it; see `make_pipeline`."""
    check_settings_files()
    with dlt_defaults():
        pipeline = _open_pipeline(target, read_only)
        setattr(pipeline, _UNTESTED, target.untested)
        check_tested(pipeline)
        return pipeline


def check_tested(pipeline: Any, *, untested: bool = False) -> str | None:
    """Return the report's warning about an untested destination; None for a tested one.

    Args:
        pipeline: Any dlt pipeline.
        untested: Whether the caller allows it.

    Raises:
        ConfigError: It is untested and not allowed.
    """
    destination = pipeline.destination
    kind = str(getattr(destination, "destination_type", "")).rpartition(".")[2]
    if destination is None or kind in TESTED:
        return None
    sentence = f"The destination {destination.destination_name} ({kind}) was never tested with this package"
    if not (untested or getattr(pipeline, _UNTESTED, False) or os.environ.get("ORGX_UNTESTED", "").lower() in _YES):
        raise ConfigError(
            f"{sentence}, so it may lose or duplicate rows. Tested: DuckDB and PostgreSQL. --untested "
            "(ORGX_UNTESTED=1) allows it."
        )
    return f"{sentence}: run orgx-sync verify before you rely on its rows."


_YES = frozenset({"1", "true", "yes", "on"})


def working_folder(destination: str, address: str, dataset: str) -> Path:
    """Return dlt's working directory for one destination and dataset, accessible to its owner only.

    Raises:
        MachineError: It cannot be created.
    """
    digest = hashlib.blake2b(f"{destination}:{address}|{dataset}".encode(), digest_size=6).hexdigest()
    home = Path(dlt.current.run_context().data_dir) / HOME
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        for folder in (home, home / digest):
            # Rows of every load pass through it, so the umask must not matter.
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.stat().st_mode & 0o077:
                # A directory of an earlier version, perhaps with a different owner.
                with suppress(PermissionError):
                    folder.chmod(0o700)  # guard: nobody-else-reads-what-is-loaded
    except OSError as error:
        raise _no_working_folder(error) from None
    return home / digest


def file_folder(database: Path, dataset: str) -> Path:
    """Return dlt's working directory for a dataset in a DuckDB file; see `working_folder`."""
    return working_folder(FILE_DESTINATION, str(database.resolve()), dataset)


def has_working_folder(pipeline: Any) -> bool:
    """Return whether dlt's working directory of a pipeline still exists; without the schemas in it, dlt fails."""
    return Path(pipeline.working_dir, "schemas").is_dir()


def _no_working_folder(error: OSError) -> MachineError:
    return MachineError(f"dlt's working directory cannot be used: {first_words(error)}; see DLT_DATA_DIR")


def _open_pipeline(target: Target, read_only: bool) -> Any:
    destination: Any = target.destination
    if target.is_file:
        path = target.database.resolve()
        address = str(path)
        credentials = duckdb_credentials(path)
        credentials.read_only = read_only
        destination = duckdb_file(credentials=credentials, destination_name=target.destination)
        destination.newest_format = _wants_newest_format()
    else:
        address = _address(target.destination)
        destination = exact(target.destination)
    working = working_folder(target.destination, address, target.dataset)
    try:
        # Until dlt has written its state, it treats the contents of its folder as left over and removes them.
        with FileLock(working / OPENING, timeout=OPENING_SECONDS):  # guard: one-process-makes-the-folder
            pipeline = dlt.pipeline(
                PIPELINE_NAME,
                destination=destination,
                dataset_name=target.dataset,
                pipelines_dir=str(working),
                # Override user settings that would create a dataset per run, or print text into that of --json.
                dev_mode=False,
                progress=NULL_COLLECTOR,
            )
        # Each step of a run would drop the rows loaded by the previous one.
        pipeline.refresh = None
        # dlt's trace of a hundred steps would be kept in memory and written with each step; our own report replaces
        # it. dlt's telemetry, if enabled, is based on the steps.
        pipeline.config.enable_runtime_trace = bool(dlt.current.run_context().runtime_config.dlthub_telemetry)
        return pipeline
    except UnknownDestinationModule:
        raise _no_such_destination(target.destination) from None
    except Timeout:
        raise DatasetTakenError(
            f"Another process has locked dlt's working directory {working}. Wait until it ends, then run again."
        ) from None
    except OSError as error:
        raise _no_working_folder(error) from None
    except Exception as error:
        raise explain(error) from None


def _wants_newest_format() -> bool:
    wanted: Any = dlt.config.get(DUCKDB_FORMAT) or "compatible"
    if wanted not in ("compatible", "newest"):
        raise ConfigError(f"{DUCKDB_FORMAT} (SOURCES__ORGX__DUCKDB_FORMAT) is {wanted!r}; use compatible or newest")
    return bool(wanted == "newest")


def _no_such_destination(name: str) -> ConfigError:
    names = ", ".join(sorted(set(dlt.destinations.__all__) - {"destination", "dummy"}))
    if not re.fullmatch(r"\w+", name):
        # It may be a URL with a password.
        return ConfigError(f"The destination is not a valid name. dlt's own are {names}")
    setting = f"DESTINATION__{name.upper()}__DESTINATION_TYPE"
    close = get_close_matches(name.lower(), dlt.destinations.__all__, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return ConfigError(
        f"dlt has no destination {name!r}{hint}. dlt's own are {names}; to define your own, set {setting}"
    )


def _address(destination: str) -> str:
    """Return the location of a destination from its settings; empty if unknown, which fails at the first use."""
    try:
        kind: Any = Destination.from_reference(destination)
        config: Any = kind.configuration(kind.spec(), accept_partial=True)
        url = getattr(config.credentials, "to_url", None)
        return f"{config.fingerprint()} {url().render_as_string(hide_password=True) if url else config}"
    except Exception:
        logger.debug("the address of %s is not known", destination, exc_info=True)
        return ""
