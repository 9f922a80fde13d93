"""Writes what is generated: docs/tables.md and the command's help in docs/cli.md. Run by ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

from typer.testing import CliRunner

from orgx_source.api.routes import ROUTES
from orgx_source.cli import app
from orgx_source.console import tracking_columns
from orgx_source.tables import SYNC_LOG_COLUMNS, TABLES, Table

DOCS = Path(__file__).parent
COMMANDS = ("", "run", "check", "status", "tables", "demo", "sandbox")


def tables_page() -> str:
    """Return docs/tables.md: every table, its routes and its columns."""
    lines = [
        "# Tables",
        "",
        "Generated from `orgx_source/tables.py` by `make docs`. Fields that OrgX sends and nobody declared become",
        "columns too; a value that does not fit its column is kept as text in `<column>__v_text` beside it.",
        "",
        "| table | one row is | columns |",
        "| --- | --- | ---: |",
        *(f"| [`{t.name}`](#{t.name}) | {_grain(t)} | {len(t.columns)} |" for t in TABLES.values()),
    ]
    for table in TABLES.values():
        lines += ["", f"## {table.name}", "", table.description, ""]
        lines += [f"* Key: `{table.key}`. " + ("Rows are only added." if table.append_only else "Rows are upserted.")]
        for number, route in enumerate(ROUTES[table.name]):
            note = f" {route.caveat[0].upper()}{route.caveat[1:]}." if route.caveat else ""
            lines.append(f"* {'Read from' if number == 0 else 'Else from'} `{route.name}` ({route.source}).{note}")
        lines += ["", "| column | type | what it says | read from |", "| --- | --- | --- | --- |"]
        for column in table.columns:
            keys = ", ".join(f"`{key}`" for key in column.keys)
            volatile = " Takes no part in change detection." if column.volatile else ""
            lines.append(f"| `{column.name}` | {column.type} | {column.description}{volatile} | {keys} |")
        for column in tracking_columns(table):
            lines.append(f"| `{column.name}` | {column.type} | {column.description} | the connector |")
        lines.append("| `_dlt_load_id` | text | The load that wrote this version of the row. | the connector |")
        if table.keeps_history:
            lines += [
                "",
                f"`{table.history}` has the same columns with `valid_from` instead of `last_changed_at`, one row per "
                f"version; `{table.versions}` adds `valid_to` and `is_current`.",
            ]
    lines += ["", "## sync_log", "", "One row per table and run of `orgx-sync run`.", ""]
    lines += ["| column | type | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{column.name}` | {column.type} | {column.description} |" for column in SYNC_LOG_COLUMNS]
    return "\n".join(lines) + "\n"


def _grain(table: Table) -> str:
    return table.description.removeprefix("One row per ").rstrip(".")


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


PAGES = {"tables.md": tables_page, "cli.md": cli_page}


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
