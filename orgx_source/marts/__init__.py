"""The marts: SQL views, one file each in ``sql/``, documented in the header of the file.

Loads the files, their documentation and their order of creation; `apply` creates them in a database.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from graphlib import TopologicalSorter
from importlib.resources import files

from orgx_source.warehouse.dialect import COMMON_GROUND
from orgx_source.warehouse.sql_names import SqlName, names_in

# Placeholders in the SQL of a mart or of a notebook: the dataset of the tables, and that of the views.
RAW, MARTS = "raw", "marts"
STAGING = "stg_"


@dataclass(frozen=True)
class Mart:
    """One view.

    Attributes:
        name: Name of the view.
        header: The comment at the top of its file, without dashes.
        sql: Its query: ``raw.x`` is a table of the connector, ``marts.x`` another view.
    """

    name: str
    header: str
    sql: str

    @property
    def is_staging(self) -> bool:
        """Whether it is an intermediate step for other views."""
        return self.name.startswith(STAGING)

    @cached_property
    def description(self) -> str:
        """The description in its header, on one line."""
        return " ".join(self.header.partition("\ngrain:")[0].split())

    @property
    def summary(self) -> str:
        """The first sentence of the description, without its full stop."""
        return self.description.partition(". ")[0].removesuffix(".")

    @cached_property
    def grain(self) -> str:
        """What one row represents."""
        return self._field("grain")

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a row."""
        return tuple(self._field("key").split(", "))

    @cached_property
    def not_to_sum(self) -> str:
        """What must not be summed; empty if there is no restriction."""
        return self._field("not to sum")

    @cached_property
    def columns(self) -> dict[str, str]:
        """Column name to description; staging views describe only columns that need an explanation."""
        _, _, listed = self.header.partition("\ncolumns:\n")
        found: dict[str, str] = {}
        for line in listed.splitlines():
            entry = re.match(r"  (\w+)  +(\S.*)", line)
            if entry:
                name, found[entry[1]] = entry[1], entry[2]
            else:
                found[name] += " " + line.strip()
        return found

    @cached_property
    def names(self) -> list[SqlName]:
        """The qualified names in its query."""
        return names_in(self.sql, COMMON_GROUND)

    @property
    def tables(self) -> set[str]:
        """The tables of the connector that it reads."""
        return {name.parts[1].name for name in self.names if name.begins_with(RAW)}

    @property
    def views(self) -> set[str]:
        """The other views that it reads."""
        return {name.parts[1].name for name in self.names if name.begins_with(MARTS)}

    def _field(self, name: str) -> str:
        found = re.search(rf"^{name}: (.*)$", self.header, re.MULTILINE)
        return found[1] if found else ""


@lru_cache
def load_marts() -> dict[str, Mart]:
    """Return every view by name, sorted by name."""
    found: dict[str, Mart] = {}
    for path in sorted((files(__package__) / "sql").iterdir(), key=lambda path: path.name):
        lines = path.read_text(encoding="utf-8").splitlines()
        count = next(number for number, line in enumerate(lines) if not line.startswith("--"))
        header = "\n".join(line[3:] for line in lines[:count])
        name = path.name.removesuffix(".sql")
        found[name] = Mart(name, header, "\n".join(lines[count:]).strip())
    return found


def marts_in_order() -> list[Mart]:
    """Return every view, each after those that it reads. Slower than `load_marts`, which parses no SQL."""
    marts = load_marts()
    order = TopologicalSorter({name: sorted(mart.views) for name, mart in marts.items()})
    return [marts[name] for name in order.static_order()]
