"""DuckDB, with table names that say which database they mean.

A file ``orgx.duckdb`` is the database ``orgx``, and DuckDB refuses the two-part name ``orgx.tasks`` when a schema is
called ``orgx`` too. dlt writes two-part names; here they get the third part. The defaults of this project are such a
pair.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlt.common.destination.dataset import DBApiCursor
from dlt.destinations import duckdb
from dlt.destinations.exceptions import DatabaseTransientException
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from duckdb import Error

from orgx_source.trouble import name_lock_holder

logger = logging.getLogger(__name__)

# What a load may take. DuckDB writes to disk what does not fit. Each of its threads needs some megabytes of its own,
# and loading 100,000 rows takes one of them as long as two.
MEMORY_LIMIT = "160MB"
THREADS = 1
LOOK_AGAIN_SECONDS = 0.5
LOOK_AGAIN_MOST = 5.0


@dataclass
class LockPatience:
    """How long one run waits for a file that another process has open; the waits are added up.

    Attributes:
        seconds: Longest time to wait.
        on_wait: Called with (seconds, why) before each wait.
        sleep: Waits in place of the wait that `stop` ends.
    """

    seconds: float = 0.0
    on_wait: Callable[[float, str], None] | None = None
    sleep: Callable[[float], None] | None = None
    waited: float = 0.0
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False)

    def wait(self, error: BaseException) -> bool:
        """Wait a moment and return True when trying again may help; False when it does not or time is up."""
        holder = name_lock_holder(error)
        if holder is None or self.waited >= self.seconds or self._stopped.is_set():
            return False
        pause = min(max(LOOK_AGAIN_SECONDS, self.waited / 2), LOOK_AGAIN_MOST, self.seconds - self.waited)
        if self.on_wait is not None:
            self.on_wait(pause, f"the DuckDB file is open in another process: {holder}")
        (self.sleep or self._stopped.wait)(pause)
        self.waited += pause
        return not self._stopped.is_set()

    def stop(self) -> None:
        """Wake whoever waits, and let nobody wait again."""
        self._stopped.set()


def duckdb_credentials(file: Path) -> DuckDbCredentials:
    """Return how dlt opens a file: rows may come in any order, which takes 80 MB less to load 100,000 of them."""
    return DuckDbCredentials(str(file), global_config={"preserve_insertion_order": False})


class FileClient(DuckDbSqlClient):
    """Asks and fills one file."""

    def catalog_name(self, quote: bool = True, casefold: bool = True) -> str | None:
        """Return the name of the file's database."""
        name = Path(str(self.credentials.database)).name.partition(".")[0]
        if casefold:
            name = self.capabilities.casefold_identifier(name)
        return self.capabilities.escape_identifier(name) if quote else name

    @contextmanager
    def saving_memory(self) -> Iterator[None]:
        """Keep DuckDB to little memory meanwhile, in every connection of this process to the file."""
        settings = "select current_setting('memory_limit'), current_setting('threads')"
        try:
            before = self._conn.execute(settings).fetchall()[0]
            self._set(MEMORY_LIMIT, THREADS)
        except Error as error:
            logger.warning("DuckDB does not say how much memory it takes, or keeps to it: %s", error)
            yield
            return
        try:
            yield
        finally:
            # What closing the file would write without a limit. It is refused while somebody else in this process
            # writes, and left to them: their settings come back in any case.
            with suppress(Error):
                self._conn.execute("checkpoint")
            with suppress(Error):
                self._set(*before)

    def _set(self, memory: str, threads: int) -> None:
        self._conn.execute(f"set global memory_limit = '{memory}'; set global threads = {threads}")

    @contextmanager
    def execute_query(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[DBApiCursor]:
        """Run a query; where it needs more memory, its next try has it."""
        with self._more_memory_next_time(), super().execute_query(query, *args, **kwargs) as cursor:
            yield cursor

    def commit_transaction(self) -> None:
        """Commit; where that needs more memory, its next try has it."""
        with self._more_memory_next_time():
            super().commit_transaction()

    @contextmanager
    def _more_memory_next_time(self) -> Iterator[None]:
        """Take the limit away where a load does not fit into it: dlt takes the job up again."""
        try:
            yield
        except DatabaseTransientException as error:
            if "memory_limit" in str(error):
                logger.warning("DuckDB needs more than %s here and gets it", MEMORY_LIMIT)
                self._conn.execute("reset global memory_limit; reset global threads")
            raise


class _Client(DuckDbClient):
    def __init__(self, schema: Any, config: Any, capabilities: Any) -> None:
        super().__init__(schema, config, capabilities)
        plain = self.sql_client
        self.sql_client = FileClient(
            plain.dataset_name, plain.staging_dataset_name, plain.credentials, plain.capabilities
        )

    def initialize_storage(self, truncate_tables: Any = None) -> None:
        # Without dlt's warning that database and dataset have one name: that is what this class is for.
        super(DuckDbClient, self).initialize_storage(truncate_tables)


class duckdb_file(duckdb):
    """A DuckDB file as a dlt destination."""

    _settled: Any = None

    def capabilities(self, config: Any = None, naming: Any = None) -> Any:
        """Return what DuckDB can do, having looked for its settings once: dlt asks some thirty times in a run."""
        if config is None:
            config = self._settled = self._settled or self.configuration(self.spec(), accept_partial=True)
        return super().capabilities(config, naming)

    @property
    def client_class(self) -> type[DuckDbClient]:
        """Return the client that qualifies its names."""
        return _Client
