"""How rows get into PostgreSQL so that an empty text stays one; imported only where the driver is installed."""

from __future__ import annotations

import csv
from typing import Any

from dlt.common.destination.configuration import CsvFormatConfiguration
from dlt.common.storages.file_storage import FileStorage
from dlt.destinations.impl.postgres.postgres import PostgresClient, PostgresCsvCopyJob


class CopyJob(PostgresCsvCopyJob):
    """Copies a CSV file in which null is an empty field and an empty text a quoted one; dlt loads null for both."""

    def run(self) -> None:
        """Copy the file, in one transaction."""
        form = self._job_client.config.csv_format or CsvFormatConfiguration()
        client = self._job_client.sql_client
        with FileStorage.open_zipsafe_ro(self._file_path, "rb") as file:
            (names,) = csv.reader([file.readline().decode(form.encoding)], delimiter=form.delimiter)
            columns = ", ".join(map(client.escape_column_name, names))
            copy = (
                f"copy {client.make_qualified_table_name(self.load_table_name)} ({columns}) from stdin "
                f"with (format csv, delimiter '{form.delimiter}', null '', encoding '{form.encoding}')"
            )
            with client.begin_transaction(), client.native_connection.cursor() as cursor:
                cursor.copy_expert(copy, file)


class CopyClient(PostgresClient):
    """Fills a database."""

    def create_load_job(self, table: Any, file_path: str, load_id: str, restore: bool = False) -> Any:
        """Return the job that loads a file."""
        job = super().create_load_job(table, file_path, load_id, restore)
        return CopyJob(file_path) if type(job) is PostgresCsvCopyJob else job
