"""The warehouse between two runs: its content, and its backups."""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg2

from tests.running import DATABASE
from tests.sequences.organisation import IN_PLAY, State

FOLDER = Path("dlt")
FILES = (DATABASE, DATABASE.with_suffix(".duckdb.wal"))


@contextmanager
def connected() -> Iterator[Any]:
    """Yield a function from SQL to rows; all queries use one connection."""
    address = os.environ.get("DESTINATION__POSTGRES__CREDENTIALS")
    connection: Any = psycopg2.connect(address) if address else duckdb.connect(str(DATABASE))

    def ask(sql: str) -> list[tuple[Any, ...]]:
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []

    with closing(connection):
        ask("set timezone = 'UTC'")
        yield ask
        if address:
            connection.commit()


@dataclass(frozen=True)
class Stored:
    """A row of a table, or a version in its history.

    Attributes:
        id: Its key.
        state: Its value and time of change.
        deleted: Whether it is marked as deleted.
        valid_from: Start of a version's validity; None for rows of the table itself.
        row_hash: As stored.
    """

    id: str
    state: State
    deleted: bool
    valid_from: datetime | None
    row_hash: str | None


@dataclass
class Holdings:
    """Content of the warehouse at one moment.

    Attributes:
        rows: Table to its rows.
        history: Table to its versions, oldest first.
    """

    rows: dict[str, list[Stored]] = field(default_factory=lambda: defaultdict(list))
    history: dict[str, list[Stored]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def read(cls) -> Holdings:
        """Query the warehouse; a missing table or column reads as empty."""
        found, columns = cls(), defaultdict(set)
        with connected() as ask:
            for table, column in ask(
                "select table_name, column_name from information_schema.columns where table_schema = 'orgx'"
            ):
                columns[table].add(column)
            for table in IN_PLAY:
                found.rows[table] = _rows(ask, table, table, columns[table])
                found.history[table] = _rows(ask, table, f"{table}_history", columns[f"{table}_history"])
        return found

    def by_id(self, table: str) -> dict[str, Stored]:
        """Return the rows of a table by key; one per duplicate key."""
        return {row.id: row for row in self.rows[table]}

    def repeated(self, table: str) -> list[str]:
        """Return the duplicate keys."""
        return [row_id for row_id, count in Counter(row.id for row in self.rows[table]).items() if count > 1]


def _rows(ask: Any, table: str, place: str, columns: set[str]) -> list[Stored]:
    if "id" not in columns:
        return []

    def of(*names: str) -> str:
        present = [name for name in names if name in columns]
        return f"coalesce({', '.join([*present, 'null'])})" if present else "null"

    stamped = IN_PLAY[table].kind in ("task", "initiative")
    stamp = of("updated_at", "created_at") if stamped else "null"
    sql = (
        f"select id, {of(IN_PLAY[table].column)}, {of('status')}, {stamp}, {of('deleted_at')} is not null, "
        f"{of('valid_from')}, {of('_row_hash')} from orgx.{place} order by 6"
    )
    return [
        Stored(row_id, (f"{value} ({status})", _utc(stamp)), deleted, _utc(since), row_hash)
        for row_id, value, status, stamp, deleted, since, row_hash in ask(sql)
    ]


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@dataclass
class Copies:
    """Backups of the warehouse file and of dlt's working folder, stored next to them.

    Attributes:
        place: Their folder.
    """

    place: Path = Path("copies")

    def keep(self) -> None:
        """Back up both, replacing the previous backups."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        for file in FILES:
            if file.exists():
                shutil.copy2(file, self.place / file.name)
        if FOLDER.exists():
            shutil.copytree(FOLDER, self.place / FOLDER)

    @property
    def exist(self) -> bool:
        return self.place.exists()

    def restore_file(self) -> None:
        """Restore the warehouse."""
        for file in FILES:
            file.unlink(missing_ok=True)
            if (self.place / file.name).exists():
                shutil.copy2(self.place / file.name, file)

    def restore_folder(self) -> None:
        """Restore dlt's working folder."""
        lose_folder()
        if (self.place / FOLDER).exists():
            shutil.copytree(self.place / FOLDER, FOLDER)


def lose_folder() -> None:
    """Delete dlt's working folder, as on a new machine."""
    shutil.rmtree(FOLDER, ignore_errors=True)
