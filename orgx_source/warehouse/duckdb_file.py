"""DuckDB, with table names that say which database they mean.

A file ``orgx.duckdb`` is the database ``orgx``, and DuckDB refuses the two-part name ``orgx.tasks`` when a schema is
called ``orgx`` too. dlt writes two-part names; here they get the third part. The defaults of this project are such a
pair.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlt.common.destination.dataset import DBApiCursor
from dlt.destinations import duckdb
from dlt.destinations.exceptions import DatabaseException, DatabaseTransientException
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.impl.duckdb.duck import DuckDbClient, DuckDbCopyJob
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from dlt.destinations.sql_client import raise_open_connection_error
from duckdb import Error, FatalException, InternalException, OutOfMemoryException, TransactionException, connect

from orgx_source.errors import CheckpointError, CommitError
from orgx_source.explain import first_words, name_lock_holder
from orgx_source.warehouse.schema_update import UpdatesByTable

logger = logging.getLogger(__name__)

# What a load may take. DuckDB writes to disk what does not fit. Each of its threads needs some megabytes of its own,
# and loading 100,000 rows takes one of them as long as two.
MEMORY_LIMIT = "160MB"
THREADS = 1
CHECKPOINT = "checkpoint"
# What a new file can be read by from then on, unless it is to be of the newest format.
READABLE_SINCE = "v1.0.0"
# An attached database of this name lives exactly as long as the DuckDB instance in which a commit failed.
FAILED_COMMIT = "orgx_failed_commit"
LOOK_AGAIN_SECONDS = 0.5
MAX_LOOK_AGAIN_SECONDS = 5.0


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
        pause = min(max(LOOK_AGAIN_SECONDS, self.waited / 2), MAX_LOOK_AGAIN_SECONDS, self.seconds - self.waited)
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


@dataclass
class _OpenFile:
    """What all clients of one file in this process share: dlt makes a client for each job.

    Attributes:
        limited: Whether DuckDB is kept to little memory.
        before: Memory limit that was set before.
        failure: Why the last commit failed that did; empty when none has.
        catalog: How DuckDB calls it; empty before it was open.
    """

    limited: bool = False
    before: str = ""
    failure: str = ""
    catalog: str = ""
    _running: int = 0
    _turn: threading.Condition = field(default_factory=threading.Condition, repr=False)

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Run a statement, beside those of other jobs but not beside a commit."""
        with self._turn:
            counted = self.limited
            self._running += counted
        try:
            yield
        finally:
            with self._turn:
                self._running -= counted
                self._turn.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run a commit while nothing else runs: it alone gets more memory, and none follows one that failed."""
        with self._turn:
            self._turn.wait_for(lambda: self._running == 0)
            yield


# By the path as dlt has it.
_open_files: defaultdict[str, _OpenFile] = defaultdict(_OpenFile)


class FileClient(DuckDbSqlClient):
    """Asks and fills one file.

    Attributes:
        newest_format: Whether a file that is made here may be one that only this DuckDB and newer ones can read.
    """

    newest_format = False
    _in_transaction = False

    def catalog_name(self, quote: bool = True, casefold: bool = True) -> str | None:
        """Return the name of the file's database; before it was open for the first time, what it will be called."""
        name = self._file.catalog or Path(str(self.credentials.database)).name.lstrip(".").partition(".")[0]
        if casefold:
            name = self.capabilities.casefold_identifier(name)
        return self.capabilities.escape_identifier(name) if quote else name

    def open_connection(self) -> Any:
        """Open the file.

        Raises:
            CommitError: This process still has the instance open in which a commit failed.
        """
        self._make_file()
        if not self._file.catalog:
            self._ask_catalog()
        connection = super().open_connection()
        if self._is_distrusted():  # guard: new-instance-only
            connection.execute("pragma disable_checkpoint_on_shutdown")
            self.close_connection()
            raise self._refusal()
        return connection

    def _make_file(self) -> None:
        path = Path(str(self.credentials.database))
        if self.newest_format or path.exists():
            return
        # Only a new file takes it, and dlt applies the settings once the file exists. What is wrong, it says again.
        with suppress(Error):
            connect(str(path), config={"storage_compatibility_version": READABLE_SINCE}).close()

    @raise_open_connection_error
    def _ask_catalog(self) -> None:
        """Ask how DuckDB calls the file: not always by its name, as it has databases called main and temp itself."""
        pool: Any = self.credentials.conn_pool
        asking = pool.borrow_conn(pragmas=self._pragmas, global_config=self._global_config)
        try:
            self._file.catalog = asking.execute("select current_database()").fetchall()[0][0]
        finally:
            pool.return_conn(asking)

    def _refusal(self) -> CommitError:
        return CommitError(f"{self._file.failure}. Nothing more is written while this process has the file open")

    def _is_distrusted(self) -> bool:
        if not self._file.failure:
            # An instance lives in one process: no commit has failed in this one, and asking takes half a millisecond.
            return False
        sql = "select count(*) from duckdb_databases() where database_name = ?"
        try:
            return self._conn.execute(sql, [FAILED_COMMIT]).fetchall() != [(0,)]
        except Error:
            # DuckDB has given the instance up.
            return True

    @property
    def _file(self) -> _OpenFile:
        return _open_files[str(self.credentials.database)]

    @contextmanager
    def saving_memory(self, succeeded: Callable[[], bool]) -> Iterator[None]:
        """Keep DuckDB to little memory meanwhile, in every connection of this process to the file.

        Args:
            succeeded: Asked at the end: only a load that came to its end is moved from the log into the file.

        Raises:
            CheckpointError: What was loaded could not be moved from the log into the file.
        """
        file = self._file
        settings = "select current_setting('memory_limit'), current_setting('threads')"
        try:
            file.before, threads = self._conn.execute(settings).fetchall()[0]
            self._conn.execute(f"set global threads = {THREADS}")
            self._limit(MEMORY_LIMIT)
            file.limited = True
        except Error as error:
            logger.warning("DuckDB does not say how much memory it takes, or keeps to it: %s", error)
            threads = THREADS
        try:
            yield
            if succeeded():
                # What closing the file would write without a limit.
                self._checkpoint()
        finally:
            with suppress(Error):
                self._lift()
                self._conn.execute(f"set global threads = {threads}")

    def _checkpoint(self) -> None:
        try:
            self._conn.execute(CHECKPOINT)
        except TransactionException as error:
            # Somebody else in this process writes: the log is theirs to move, and DuckDB reads it at the next start.
            logger.info("no checkpoint: %s", error)
        except Error as error:
            self._file.failure = f"DuckDB could not finish writing the file: {first_words(error)}"
            self._distrust()
            raise CheckpointError(self._file.failure) from error

    def _limit(self, memory: str) -> None:
        self._conn.execute(f"set global memory_limit = '{memory}'")

    def _lift(self) -> None:
        """Give DuckDB the memory that it had before the load."""
        if self._file.limited:
            self._file.limited = False
            self._limit(self._file.before)

    @contextmanager
    def execute_query(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[DBApiCursor]:
        """Run a query; where it needs more memory, its next try has it.

        Raises:
            CommitError: It was to commit by itself and could not, or DuckDB has given the instance up.
        """
        try:
            with self._file.beside_others(), super().execute_query(query, *args, **kwargs) as cursor:
                yield cursor
        except DatabaseTransientException as error:
            cause = error.dbapi_exception
            committing = isinstance(cause, TransactionException) and not self._in_transaction
            if committing or isinstance(cause, (FatalException, InternalException)):
                raise self._failed_commit(error) from error
            if isinstance(cause, OutOfMemoryException) and self._file.limited:
                logger.warning("DuckDB needs more than %s here and gets it", MEMORY_LIMIT)
                self._lift()  # guard: memory-for-a-query
            raise

    @contextmanager
    def begin_transaction(self) -> Iterator[Any]:
        """Do several statements or none of them."""
        self._in_transaction = True
        try:
            with super().begin_transaction() as transaction:
                yield transaction
        finally:
            self._in_transaction = False

    def commit_transaction(self) -> None:
        """Commit, with all the memory that DuckDB allows itself.

        Raises:
            CommitError: It failed, or an earlier one did in this instance.
        """
        with self._file.alone():
            if self._is_distrusted():  # guard: nothing-after-a-failed-commit
                raise self._refusal()
            limited = self._file.limited
            self._lift()  # guard: memory-for-a-commit
            try:
                super().commit_transaction()
            except DatabaseException as error:
                raise self._failed_commit(error) from error
            if limited:
                self._limit_again()

    def _limit_again(self) -> None:
        try:
            self._limit(MEMORY_LIMIT)
            self._file.limited = True
        except Error as error:
            # Never raised: the commit is done, and dlt would do the job a second time.
            logger.warning("DuckDB needs more than %s here and keeps it: %s", MEMORY_LIMIT, error)

    def _failed_commit(self, error: Exception) -> CommitError:
        self._file.failure = f"DuckDB could not commit: {first_words(getattr(error, 'dbapi_exception', error))}"
        self._distrust()
        return CommitError(self._file.failure)

    def _distrust(self) -> None:
        """Mark the instance: a commit that fails may leave rows in it, behind which the next ones land shifted.

        Seen in DuckDB 1.4.5, 1.5 and 2.0.0 after commits that failed for lack of memory; the file itself is whole as
        long as nothing more is written through this instance.
        """
        with suppress(TransactionException):
            self._conn.rollback()
        try:
            self._conn.execute(
                f"pragma disable_checkpoint_on_shutdown; attach if not exists ':memory:' as {FAILED_COMMIT}"
            )
        except Error as error:
            # An instance that DuckDB has given up refuses everything, this too.
            logger.warning("the DuckDB instance could not be marked: %s", error)


class _CopyJob(DuckDbCopyJob):
    """Copies a file into the staging dataset, and commits like everything else."""

    def run(self) -> None:
        with self._job_client.sql_client.begin_transaction():
            super().run()


class _Client(UpdatesByTable, DuckDbClient):
    def __init__(self, schema: Any, config: Any, capabilities: Any) -> None:
        super().__init__(schema, config, capabilities)
        plain = self.sql_client
        self.sql_client = FileClient(
            plain.dataset_name, plain.staging_dataset_name, plain.credentials, plain.capabilities
        )

    def create_load_job(self, table: Any, file_path: str, load_id: str, restore: bool = False) -> Any:
        job = super().create_load_job(table, file_path, load_id, restore)
        return _CopyJob(file_path) if type(job) is DuckDbCopyJob else job

    def initialize_storage(self, truncate_tables: Any = None) -> None:
        # Without dlt's warning that database and dataset have one name: that is what this class is for.
        super(DuckDbClient, self).initialize_storage(truncate_tables)


class duckdb_file(duckdb):
    """A DuckDB file as a dlt destination.

    Attributes:
        newest_format: Whether a new file may be one that only this DuckDB and newer ones can read.
    """

    newest_format = False
    _settled: Any = None

    def client(self, schema: Any, initial_config: Any = None) -> Any:
        """Return a client; dlt makes one for each job."""
        client: Any = super().client(schema, initial_config)
        client.sql_client.newest_format = self.newest_format
        return client

    def capabilities(self, config: Any = None, naming: Any = None) -> Any:
        """Return what DuckDB can do, having looked for its settings once: dlt asks some thirty times in a run."""
        if config is None:
            config = self._settled = self._settled or self.configuration(self.spec(), accept_partial=True)
        return super().capabilities(config, naming)

    def _raw_capabilities(self) -> Any:
        caps = super()._raw_capabilities()
        # dlt leaves it open, and then deletes rows that a refused insert was to bring back.
        caps.supports_transactions = True  # guard: merges-are-atomic
        return caps

    @property
    def client_class(self) -> type[DuckDbClient]:
        """Return the client that qualifies its names."""
        return _Client
