"""Writes what is generated: docs/tables.md, erd.md, cli.md, and the views in docs/marts.md. Run by ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

from click.testing import CliRunner

from orgx_source.api.routes import ROUTES
from orgx_source.cli import app
from orgx_source.marts import marts_in_order
from orgx_source.tables import OTHER_TABLES, TABLES, Table, references

DOCS = Path(__file__).parent
GENERATED = "<!-- What follows is generated from the headers of orgx_source/marts/sql by make docs. -->"
COMMANDS = ("", *app.commands)


def tables_page() -> str:
    """Return docs/tables.md: every table, its routes and its columns."""
    lines = [
        "# Tables",
        "",
        "Generated from `orgx_source/tables.py` by `make docs`. Undeclared fields that OrgX sends become",
        "columns too; a value that does not fit its column is kept as text in `<column>__v_text`.",
        "",
        "| table | one row per | columns |",
        "| --- | --- | ---: |",
        *(f"| [`{t.name}`](#{t.name}) | {_grain(t)} | {len(t.columns)} |" for t in TABLES.values()),
    ]
    for table in TABLES.values():
        lines += ["", f"## {table.name}", "", table.description, ""]
        lines += [f"* Key: `{table.key}`. " + ("Rows are only added." if table.append_only else "Rows are upserted.")]
        for number, route in enumerate(ROUTES[table.name]):
            note = f" {route.caveat[0].upper()}{route.caveat[1:]}." if route.caveat else ""
            lines.append(f"* {'Read from' if number == 0 else 'Otherwise from'} `{route.name}` ({route.source}).{note}")
        lines += ["", "| column | type | meaning | read from |", "| --- | --- | --- | --- |"]
        for column in table.columns:
            keys = ", ".join(f"`{key}`" for key in column.keys)
            volatile = " Excluded from change detection." if column.volatile else ""
            lines.append(f"| `{column.name}` | {column.type} | {column.description}{volatile} | {keys} |")
        for column in table.stored_columns[len(table.columns) :]:
            lines.append(f"| `{column.name}` | {column.type} | {column.description} | the connector |")
        lines.append("| `_dlt_load_id` | text | The load that wrote this version of the row. | the connector |")
        if table.keeps_history:
            lines += [
                "",
                f"`{table.history}` has the same columns with `valid_from` instead of `last_changed_at`, one row per "
                f"version; `{table.versions}` adds `valid_to` and `is_current`.",
            ]
    for name, (description, columns) in OTHER_TABLES.items():
        lines += ["", f"## {name}", "", description, ""]
        lines += ["| column | type | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{column.name}` | {column.type} | {column.description} |" for column in columns]
    return "\n".join(lines) + "\n"


def _grain(table: Table) -> str:
    return table.description.removeprefix("One row per ").rstrip(".")


def erd_page() -> str:
    """Return docs/erd.md: the tables, their keys, and which column refers to which table."""
    lines = [
        "# How the tables are related",
        "",
        "Generated from `orgx_source/tables.py` by `make docs`. Shows the keys, and the columns that refer to",
        "another table; all columns are in [tables.md](tables.md).",
        "",
        "```mermaid",
        "erDiagram",
    ]
    for table in TABLES.values():
        for column, other in references(table).items():
            lines.append(f'    {other.name} |o--o{{ {table.name} : "{column}"')
    for table in TABLES.values():
        lines.append(f"    {table.name} {{")
        lines.append(f"        text {table.key} PK")
        lines += [f"        text {column} FK" for column in references(table)]
        lines.append("    }")
    lines += ["```", "", "| table | belongs to | column | refers to |", "| --- | --- | --- | --- |"]
    for table in TABLES.values():
        for number, (column, other) in enumerate(references(table).items()):
            first = (f"`{table.name}`", f"`{table.parent}`" if table.parent else "") if number == 0 else ("", "")
            lines.append(f"| {first[0]} | {first[1]} | `{column}` | `{other.name}.{other.key}` |")
    lines += [
        "",
        "* No database constraints enforce these relations: OrgX leaves columns empty, and a row may still exist after",
        "  the row it refers to was deleted. Deleted rows are kept with `deleted_at`, so most ids still have a row;",
        "  use `left join`.",
        "* Some rows name their workspace only in `command_center_id`: use",
        "  `coalesce(workspace_id, command_center_id)`.",
        "* `artifacts.entity_id` refers to the table named by `artifacts.entity_type`, such as initiative, workstream,",
        "  milestone or task. `artifacts.created_by_id` refers to an agent if `created_by_type` is `agent`.",
        "* `depends_on`, `assigned_agent_ids` and `blockers` are JSON lists of ids.",
        "* `<table>_history` has one row per version of a row: join it by the key of its table and select a version by",
        "  `valid_from`. Its other columns refer to the same tables. The view `<table>_versions` adds the end of each",
        "  version, `valid_to`, and `is_current`.",
        "* `sync_log` refers to no other table: it has one row per run and table, named in `table_name`.",
    ]
    return "\n".join(lines) + "\n"


def marts_page() -> str:
    """Return docs/marts.md: the part written by hand, then every view with its grain, key and columns."""
    written, mark, _ = (DOCS / "marts.md").read_text().partition(GENERATED)
    marts = [mart for mart in marts_in_order() if not mart.is_staging]
    lines = ["", "", "## Views", "", "| view | one row per | description |", "| --- | --- | --- |"]
    lines += [f"| [`{m.name}`](#{m.name}) | {m.grain} | {m.summary} |" for m in marts]
    for mart in marts:
        lines += ["", f"## {mart.name}", "", mart.description, "", f"* Grain: {mart.grain}."]
        lines.append(f"* Key: {', '.join(f'`{name}`' for name in mart.key)}.")
        if mart.not_to_sum:
            lines.append(f"* Not to sum: {mart.not_to_sum}")
        lines += ["", "| column | description |", "| --- | --- |"]
        lines += [f"| `{name}` | {text} |" for name, text in mart.columns.items()]
    lines += [
        "",
        "## Staging views",
        "",
        "Views that only rename, cast and unify values; the others are built on them.",
        "",
    ]
    lines += ["| view | one row per | description |", "| --- | --- | --- |"]
    lines += [f"| `{m.name}` | {m.grain} | {m.description} |" for m in marts_in_order() if m.is_staging]
    return written + mark + "\n".join(lines) + "\n"


def cli_page() -> str:
    """Return docs/cli.md: the help of every command."""
    runner = CliRunner()
    lines = ["# orgx-sync", "", "Generated from the command itself by `make docs`."]
    for command in COMMANDS:
        arguments = [command, "--help"] if command else ["--help"]
        result = runner.invoke(app, arguments, prog_name="orgx-sync", env={"COLUMNS": "100", "NO_COLOR": "1"})
        shown = "\n".join(line.rstrip() for line in result.output.strip().splitlines())
        lines += ["", f"## orgx-sync {command}".rstrip(), "", "```text", shown, "```"]
    return "\n".join(lines) + "\n"


PAGES = {"tables.md": tables_page, "erd.md": erd_page, "marts.md": marts_page, "cli.md": cli_page}


def main() -> int:
    """Write the pages; with ``--check``, only say whether they are current."""
    stale = [name for name, page in PAGES.items() if not _is_current(DOCS / name, page())]
    if "--check" in sys.argv:
        for name in stale:
            print(f"docs/{name} is out of date; run make docs")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())
        print(f"wrote docs/{name}")
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
