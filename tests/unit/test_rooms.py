"""Who may import whom: the sandbox stands alone, the heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "orgx_source"
FILES = sorted(PACKAGE.rglob("*.py"))

# Library to the rooms that may import it.
ALLOWED = {
    "altair": {f"charts/{room}.py" for room in ("style", "initiatives", "agents", "decisions")},
    "httpx": {"api/client.py"},
    "orjson": {"api/envelope.py", "shape.py", "sandbox/answers.py"},
    "pyarrow": {"shape.py", "changes.py", "table_reader.py", "warehouse.py", "export.py"},
    "dlt": {"config.py", "source.py", "sync.py", "warehouse.py", "duckdb_file.py"},
    "duckdb": {"demo.py", "duckdb_file.py", "notebook.py", "publish.py", "stored_file.py"},
    "filelock": {"sync.py"},
    "click": {"cli.py", "cli_options.py"},
    "rich": {"console.py"},
    "starlette": {"sandbox/answers.py", "sandbox/app.py", "sandbox/paths.py"},
    "uvicorn": {"sandbox/server.py"},
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


@pytest.mark.parametrize("path", FILES, ids=room)
def test_a_room_imports_only_the_libraries_it_may(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports(path)}
    wrong = {library for library, rooms in ALLOWED.items() if library in libraries and room(path) not in rooms}
    assert not wrong, f"{room(path)} imports {wrong}"


@pytest.mark.parametrize("path", [path for path in FILES if room(path).startswith("sandbox/")], ids=room)
def test_the_sandbox_imports_no_other_room(path: Path) -> None:
    own = {name for name in imports(path) if name.startswith("orgx_source") and name != "orgx_source"}
    assert all(name.startswith("orgx_source.sandbox") for name in own), own


@pytest.mark.parametrize("path", [path for path in FILES if room(path).startswith("api/")], ids=room)
def test_the_api_knows_neither_the_source_nor_the_warehouse(path: Path) -> None:
    forbidden = {
        "orgx_source.source",
        "orgx_source.sync",
        "orgx_source.warehouse",
        "orgx_source.shape",
        "orgx_source.cli",
    }
    assert not imports(path) & forbidden


def test_no_room_is_called_after_what_it_is_not() -> None:
    names = {part for path in FILES for part in Path(room(path)).with_suffix("").parts}
    assert not names & {"utils", "helpers", "manager", "common", "misc"}


def test_every_library_named_here_is_imported_somewhere() -> None:
    everything = {name.split(".")[0] for path in FILES for name in imports(path)}
    assert ALLOWED.keys() <= everything
