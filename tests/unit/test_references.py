"""Which column leads to which table: the declaration fits the tables, and the sandbox's organisation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orgx_source.sandbox import World
from orgx_source.tables import REFERENCES, TABLES, references
from tests.running import KINDS, OPTIONAL_KINDS

ALL_KINDS = KINDS | OPTIONAL_KINDS
ERD = Path(__file__).parents[2] / "docs" / "erd.md"


def test_every_reference_names_columns_and_tables_that_exist() -> None:
    declared = {column.name for table in TABLES.values() for column in table.columns}
    assert REFERENCES.keys() <= declared
    assert set(REFERENCES.values()) <= TABLES.keys()
    for table in TABLES.values():
        assert table.key not in references(table)
        assert table.parent is None or table.parent in TABLES


def test_a_column_named_after_a_table_is_declared_to_lead_there() -> None:
    named = {f"{name.removesuffix('s')}_id" for name in TABLES}
    found = {column.name for table in TABLES.values() for column in table.columns} & named
    assert found <= REFERENCES.keys()


def test_a_table_leads_to_the_one_it_belongs_to() -> None:
    # OrgX does not say of an agent in which workspace it is.
    for name in TABLES.keys() - {"agents"}:
        parent = TABLES[name].parent
        assert parent is None or parent in {other.name for other in references(TABLES[name]).values()}, name


@pytest.mark.parametrize("name", ALL_KINDS)
def test_every_reference_of_the_sandbox_finds_its_row(name: str) -> None:
    world, table = World("small"), TABLES[name]
    followed = 0
    for column, other in references(table).items():
        ids = {row[other.key] for row in world.rows(ALL_KINDS[other.name])}
        values = {row[column] for row in world.rows(ALL_KINDS[name]) if row.get(column) is not None}
        assert values <= ids, f"{name}.{column} leads to no row of {other.name}"
        followed += len(values)
    # In a new world no agent is at work, and no handoff names a workspace.
    assert followed or not references(table) or name in ("agents", "handoffs")


def test_the_diagram_shows_every_table_and_every_line_between_them() -> None:
    diagram = ERD.read_text().partition("```mermaid")[2].partition("```")[0]
    lines = set(re.findall(r'^    (\w+) \|o--o\{ (\w+) : "(\w+)"$', diagram, re.MULTILINE))
    assert lines == {
        (other.name, table.name, column) for table in TABLES.values() for column, other in references(table).items()
    }
    assert re.findall(r"^    (\w+) \{$", diagram, re.MULTILINE) == list(TABLES)
