"""Who may import whom: folders in one direction, the sandbox alone, the heavy libraries in their rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "orgx_source"
FILES = sorted(PACKAGE.rglob("*.py"))

# A room imports only rooms of the rows above its own, and its own folder.
ORDER = (
    ("texts",),
    ("version", "errors", "files", "times"),
    ("tables", "explain", "charts"),
    ("config", "rows"),
    ("web",),
    ("login",),
    ("api",),
    ("warehouse",),
    ("reading", "marts"),
    ("source", "html_report"),
    ("sync",),
    ("commands", "notebook"),
    ("inbox",),
    ("cli",),
    ("__main__",),
)
RANKS = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}

# Library to the rooms that may import it.
ALLOWED = {
    "altair": {"charts/quick_altair.py"},
    "httpx": {"api/http.py", "web/network.py", "login/server.py"},
    "mcp": {"api/mcp_session.py"},
    "mcp_types": {"api/mcp_session.py"},
    "httpx2": {"api/mcp_session.py"},
    "anyio": {"api/mcp_session.py"},
    "pydantic": {"api/mcp_session.py"},
    "orjson": {"api/envelope.py", "rows/shape.py", "sandbox/answers.py", "sandbox/app.py"},
    "pyarrow": {
        "rows/handed.py",
        "rows/shape.py",
        "reading/changes.py",
        "reading/intake.py",
        "warehouse/dataset.py",
        "warehouse/dialect.py",
        "commands/export.py",
    },
    "dlt": {"config.py", "source.py", "sync.py", "inbox/signature.py"}
    | {
        f"warehouse/{room}.py"
        for room in (
            "arrival",
            "dataset",
            "duckdb_file",
            "pipeline",
            "postgres",
            "postgres_copy",
            "run_lock",
            "schema_update",
        )
    },
    "duckdb": {
        "cli/demo.py",
        "warehouse/duckdb_file.py",
        "warehouse/stored_file.py",
        "notebook.py",
        "commands/publish.py",
        "commands/query.py",
    },
    "sqlglot": {"warehouse/dialect.py", "warehouse/sql_names.py"},
    "filelock": {"cli/demo.py", "login/tokens.py", "warehouse/pipeline.py", "warehouse/run_lock.py"},
    "pandas": {"marts/frames.py", "charts/findings/rows.py", "notebook.py"},
    "jinja2": {"html_report/page.py"},
    "click": {"cli/__init__.py", "cli/init.py", "cli/options.py", "cli/usage.py"},
    "rich": {"cli/console.py"},
    "starlette": {"inbox/app.py", *(f"sandbox/{room}.py" for room in ("answers", "app", "mcp_door", "oauth", "paths"))},
    "uvicorn": {"inbox/service.py", "sandbox/server.py"},
    "vl_convert": {"html_report/page.py"},
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def folder(path: Path) -> str:
    """Return the first part of a room's name: its folder, or the room itself where it stands at the root."""
    return Path(room(path)).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=room)
def test_a_room_imports_only_the_libraries_it_may(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports(path)}
    wrong = {library for library, rooms in ALLOWED.items() if library in libraries and room(path) not in rooms}
    assert not wrong, f"{room(path)} imports {wrong}"


@pytest.mark.parametrize("path", [path for path in FILES if folder(path) not in ("__init__", "sandbox")], ids=room)
def test_a_room_imports_only_what_lies_below_it(path: Path) -> None:
    own = folder(path)
    others = {name.split(".")[1] for name in imports(path) if name.startswith("orgx_source.")} - {own, "orgx_source"}
    # The demonstration and the command that serves it are the only ones to know the sandbox.
    others -= {"sandbox"} if own == "cli" else set()
    wrong = {other for other in others & RANKS.keys() if RANKS[other] >= RANKS[own]} | (others & {"sandbox"})
    assert not wrong, f"{room(path)} imports {wrong}"


def test_every_room_has_its_place_in_the_order() -> None:
    assert {folder(path) for path in FILES} == RANKS.keys() | {"__init__", "sandbox"}


@pytest.mark.parametrize("path", [path for path in FILES if room(path).startswith("sandbox/")], ids=room)
def test_the_sandbox_imports_no_other_room(path: Path) -> None:
    own = {name for name in imports(path) if name.startswith("orgx_source") and name != "orgx_source"}
    assert all(name.startswith("orgx_source.sandbox") for name in own), own


def test_no_room_is_called_after_what_it_is_not() -> None:
    names = {part for path in FILES for part in Path(room(path)).with_suffix("").parts}
    assert not names & {"utils", "helpers", "manager", "common", "misc"}


# What tells one database from another, and the names that dlt has for them: `warehouse` alone looks at either.
TELLTALES = {"sqlglot_dialect", "__module__"}
DATABASES = {"duckdb", "postgres", "redshift", "snowflake", "bigquery", "motherduck"}


def decisions(path: Path) -> set[str]:
    """Return what a room decides by: databases that it compares something with, and attributes that tell them apart."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare | ast.Dict | ast.Set | ast.Tuple | ast.match_case):
            constants = (inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant))
            found |= DATABASES.intersection(value for value in constants if isinstance(value, str))
        elif isinstance(node, ast.Attribute):
            found |= TELLTALES & {node.attr}
    return found


@pytest.mark.parametrize("path", [path for path in FILES if folder(path) != "warehouse"], ids=room)
def test_only_the_warehouse_tells_databases_apart(path: Path) -> None:
    assert not decisions(path), f"{room(path)}: ask a Target or a Dialect"


def test_names_and_texts_are_quoted_in_one_room() -> None:
    quoting = {
        room(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and [getattr(argument, "value", None) for argument in node.args] in (["'", "''"], ['"', '""'])
    }
    assert quoting == {"warehouse/dialect.py"}


def test_every_library_named_here_is_imported_somewhere() -> None:
    everything = {name.split(".")[0] for path in FILES for name in imports(path)}
    assert ALLOWED.keys() <= everything
