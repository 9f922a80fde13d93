"""DuckDB with fully qualified table names.

A file ``orgx.duckdb`` is the database ``orgx``, and DuckDB rejects the two-part name ``orgx.tasks`` if a schema is
named ``orgx`` too, as with the defaults of this project. dlt writes two-part names; here they get the third part.
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

# Limits of a load; DuckDB spills the rest to disk. Each thread needs some megabytes, and loading 100,000 rows takes one
# thread as long as two.
MEMORY_LIMIT = "160MB"
THREADS = 1
CHECKPOINT = "checkpoint"
# Oldest DuckDB version that can read a new file, unless the newest format is requested.
READABLE_SINCE = "v1.0.0"
# An attached database with this name lives exactly as long as the DuckDB instance in which a commit failed.
FAILED_COMMIT = "orgx_failed_commit"
LOOK_AGAIN_SECONDS = 0.5
MAX_LOOK_AGAIN_SECONDS = 5.0


@dataclass
class LockPatience:
    """How long one run waits in total for a file that another process has open.

    Attributes:
        seconds: Maximum total wait.
        on_wait: Called with (seconds, why) before each wait.
        sleep: Replaces the wait that `stop` interrupts.
    """

    seconds: float = 0.0
    on_wait: Callable[[float, str], None] | None = None
    sleep: Callable[[float], None] | None = None
    waited: float = 0.0
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False)

    def wait(self, error: BaseException) -> bool:
        """Wait briefly and return True if a retry may help; False if not, or if the time is up."""
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
        """Wake all waiting threads, and prevent further waits."""
        self._stopped.set()


def delete_empty(file: Path) -> None:
    """Delete a DuckDB file without content, while no other process can open it; one that is in use stays."""
    with suppress(Error), connect(str(file.resolve())) as connection:
        sql = "select count(*) from duckdb_schemas() where database_name = current_database() and not internal"
        if connection.execute(sql).fetchall() == [(0,)]:  # guard: only-what-asking-made
            file.unlink(missing_ok=True)


def duckdb_credentials(file: Path) -> DuckDbCredentials:
    """Return dlt's settings for a file: rows may be in any order, which saves 80 MB when loading 100,000."""
    return DuckDbCredentials(str(file), global_config={"preserve_insertion_order": False})


@dataclass
class _OpenFile:
    """State shared by all clients of one file in this process: dlt creates a client per job.

    Attributes:
        limited: Whether DuckDB's memory is limited.
        before: Previous memory limit.
        failure: Why the last failed commit failed; empty if none has.
        catalog: DuckDB's name of it; empty before it was open.
    """

    limited: bool = False
    before: str = ""
    failure: str = ""
    catalog: str = ""
    _running: int = 0
    _turn: threading.Condition = field(default_factory=threading.Condition, repr=False)

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Run a statement in parallel with other jobs, but not with a commit."""
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
        """Run a commit exclusively: it gets more memory, and none follows a failed one."""
        with self._turn:
            self._turn.wait_for(lambda: self._running == 0)
            yield


# By dlt's path.
_open_files: defaultdict[str, _OpenFile] = defaultdict(_OpenFile)


class FileClient(DuckDbSqlClient):
    """SQL client of one file.

    Attributes:
        newest_format: Whether a new file may use a format that only this and newer DuckDB versions can read.
    """

    newest_format = False
    _in_transaction = False

    def catalog_name(self, quote: bool = True, casefold: bool = True) -> str | None:
        """Return the name of the file's database, also before it was first opened."""
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
        # Only a new file accepts it, and dlt applies its settings after the file exists. dlt repeats any error.
        with suppress(Error):
            connect(str(path), config={"storage_compatibility_version": READABLE_SINCE}).close()

    @raise_open_connection_error
    def _ask_catalog(self) -> None:
        """Query DuckDB's name of the file; it differs from the file name for main and temp, which are reserved."""
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
            # An instance lives in one process; no commit has failed in this one, and the query takes half a
            # millisecond.
            return False
        sql = "select count(*) from duckdb_databases() where database_name = ?"
        try:
            return self._conn.execute(sql, [FAILED_COMMIT]).fetchall() != [(0,)]
        except Error:
            # DuckDB has invalidated the instance.
            return True

    @property
    def _file(self) -> _OpenFile:
        return _open_files[str(self.credentials.database)]

    @contextmanager
    def saving_memory(self, succeeded: Callable[[], bool]) -> Iterator[None]:
        """Limit DuckDB's memory meanwhile, in all connections of this process to the file.

        Args:
            succeeded: Called at the end: only a successful load is moved from the log into the file.

        Raises:
            CheckpointError: The load could not be moved from the log into the file.
        """
        file = self._file
        settings = "select current_setting('memory_limit'), current_setting('threads')"
        try:
            file.before, threads = self._conn.execute(settings).fetchall()[0]
            self._conn.execute(f"set global threads = {THREADS}")
            self._limit(MEMORY_LIMIT)
            file.limited = True
        except Error as error:
            logger.warning("DuckDB does not report its memory limit, or does not change it: %s", error)
            threads = THREADS
        try:
            yield
            if succeeded():
                # Otherwise closing the file would write this without a limit.
                self._checkpoint()
        finally:
            with suppress(Error):
                self._lift()
                self._conn.execute(f"set global threads = {threads}")

    def _checkpoint(self) -> None:
        try:
            self._conn.execute(CHECKPOINT)
        except TransactionException as error:
            # Another writer in this process is active: it will move the log, and DuckDB reads it at the next start.
            logger.info("no checkpoint: %s", error)
        except Error as error:
            self._file.failure = f"DuckDB could not finish writing the file: {first_words(error)}"
            self._distrust()
            raise CheckpointError(self._file.failure) from error

    def _limit(self, memory: str) -> None:
        self._conn.execute(f"set global memory_limit = '{memory}'")

    def _lift(self) -> None:
        """Restore DuckDB's memory limit from before the load."""
        if self._file.limited:
            self._file.limited = False
            self._limit(self._file.before)

    @contextmanager
    def execute_query(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[DBApiCursor]:
        """Run a query; if it needs more memory, its next attempt gets it.

        Raises:
            CommitError: It could not autocommit, or DuckDB has invalidated the instance.
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
                logger.warning("DuckDB needs more than %s here; the limit is lifted", MEMORY_LIMIT)
                self._lift()  # guard: memory-for-a-query
            raise

    @contextmanager
    def begin_transaction(self) -> Iterator[Any]:
        """Run several statements in one transaction."""
        self._in_transaction = True
        try:
            with super().begin_transaction() as transaction:
                yield transaction
        finally:
            self._in_transaction = False

    def commit_transaction(self) -> None:
        """Commit with DuckDB's own memory limit.

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
            # Never raised: the commit is done, and dlt would repeat the job.
            logger.warning("DuckDB needs more than %s here; the limit stays lifted: %s", MEMORY_LIMIT, error)

    def _failed_commit(self, error: Exception) -> CommitError:
        self._file.failure = f"DuckDB could not commit: {first_words(getattr(error, 'dbapi_exception', error))}"
        self._distrust()
        return CommitError(self._file.failure)

    def _distrust(self) -> None:
        """Mark the instance: a failed commit may leave rows in it that shift the rows appended next.

        Seen in DuckDB 1.4.5, 1.5 and 2.0.0 after commits that failed for lack of memory; the file itself is intact as
        long as nothing more is written through this instance.
        """
        # An invalidated instance refuses this too.
        with suppress(Error):
            self._conn.rollback()
        try:
            self._conn.execute(
                f"pragma disable_checkpoint_on_shutdown; attach if not exists ':memory:' as {FAILED_COMMIT}"
            )
        except Error as error:
            # An invalidated instance refuses every statement, including this one.
            logger.warning("the DuckDB instance could not be marked: %s", error)


class _CopyJob(DuckDbCopyJob):
    """Copies a file into the staging dataset, with the same commit handling."""

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
        # Without dlt's warning that database and dataset have the same name: this class handles that.
        super(DuckDbClient, self).initialize_storage(truncate_tables)


class duckdb_file(duckdb):
    """A DuckDB file as a dlt destination.

    Attributes:
        newest_format: Whether a new file may use a format that only this and newer DuckDB versions can read.
    """

    newest_format = False
    _settled: Any = None

    def client(self, schema: Any, initial_config: Any = None) -> Any:
        """Return a client; dlt creates one per job."""
        client: Any = super().client(schema, initial_config)
        client.sql_client.newest_format = self.newest_format
        return client

    def capabilities(self, config: Any = None, naming: Any = None) -> Any:
        """Return DuckDB's capabilities, with its settings looked up once: dlt asks some thirty times in a run."""
        if config is None:
            config = self._settled = self._settled or self.configuration(self.spec(), accept_partial=True)
        return super().capabilities(config, naming)

    def _raw_capabilities(self) -> Any:
        caps = super()._raw_capabilities()
        # dlt would not use a transaction, and deletes rows before an insert that may be refused.
        caps.supports_transactions = True  # guard: merges-are-atomic
        return caps

    @property
    def client_class(self) -> type[DuckDbClient]:
        """Return the client with qualified names."""
        return _Client
