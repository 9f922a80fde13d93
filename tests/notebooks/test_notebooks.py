"""Every notebook runs on 120 days and on a single read; what is committed is what a run on 120 days shows."""

from __future__ import annotations

import ast
import importlib.util
import shutil
import zlib
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
import pytest

from orgx_source.sandbox import Sandbox, World
from tests.running import DATABASE, sync

HOME = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(HOME.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: Any) -> set[str]:
    return {kind for output in cell.outputs for kind in output.get("data", {})}


def texts(notebook: Any) -> dict[str, list[str]]:
    """Return what each cell says in words and numbers; pictures depend on the fonts of a machine."""
    return {
        cell.id: [output.data["text/plain"] for output in cell.outputs if "image/png" not in output.data]
        for cell in code_cells(notebook)
        if "injected-parameters" not in cell.metadata.get("tags", [])
    }


def check_shown(notebook: Any, name: str) -> None:
    for cell in code_cells(notebook):
        where = f"{name}: {cell.source}"
        assert all(output.output_type == "execute_result" for output in cell.outputs), where
        assert ("image/png" in kinds(cell)) == ("charts." in cell.source.splitlines()[-1]), where
        assert "marts.query(" not in cell.source.splitlines()[0] or "text/html" in kinds(cell), where


def test_there_is_a_notebook_for_each_question() -> None:
    subjects = [
        "01_first_look", "02_initiative_progress", "03_agent_throughput", "04_decision_latency", "05_cost_and_outcomes",
    ]  # fmt: skip
    assert [path.stem for path in NOTEBOOKS] == subjects


@each_notebook
def test_what_is_committed_holds_its_pictures_and_no_error(path: Path) -> None:
    check_shown(read(path), path.name)


@each_notebook
def test_what_is_committed_is_the_same_on_each_day_and_machine(path: Path) -> None:
    notebook = read(path)
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    assert all(not cell.metadata.keys() - {"tags"} for cell in notebook.cells)
    assert not any(name in path.read_text() for name in (str(HOME.parent), str(Path.home()), "/tmp/"))
    assert all(cell.execution_count is None for cell in code_cells(notebook))
    assert all(output.execution_count is None for cell in code_cells(notebook) for output in cell.outputs)


@each_notebook
def test_settings_come_first_then_a_check_and_an_exercise_last(path: Path) -> None:
    notebook = read(path)
    first, *_, check, exercise = code_cells(notebook)
    assert first.metadata.tags == ["parameters"]
    assert [line.split(" = ")[0] for line in first.source.splitlines()] == ["DATABASE", "DESTINATION", "DATASET"]
    assert "assert " in check.source
    name, equals, _ = exercise.source.partition(" = ")
    assert name.isupper() and equals
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert texts[0].startswith("# ") and texts[-2].startswith("## Check") and texts[-1].startswith("## Exercise")
    assert "Change `" in texts[-1]


@each_notebook
def test_every_picture_is_explained(path: Path) -> None:
    cells = read(path).cells
    pictures = [number for number, cell in enumerate(cells) if cell.cell_type == "code" and "image/png" in kinds(cell)]
    for number in pictures:
        after = next(cell for cell in cells[number:] if cell.cell_type == "markdown")
        assert after.source.startswith("How to read"), cells[number].source
        assert " not " in after.source.split("\n\n")[0], f"what it does not show: {after.source}"


def run_cells(path: Path, database: str) -> list[Any]:
    """Run a notebook in this process, and return what each cell shows."""
    names: dict[str, Any] = {}
    shown = []
    for cell in code_cells(read(path)):
        is_settings = "parameters" in cell.metadata.get("tags", [])
        tree = ast.parse(f"DATABASE = {database!r}" if is_settings else cell.source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        names |= {"DESTINATION": "duckdb", "DATASET": "orgx"}
        exec(compile(tree, path.name, "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), path.name, "eval"), names))
    return shown


@pytest.mark.marts
def test_every_notebook_runs_after_a_single_read() -> None:
    with Sandbox(World("small", start=datetime(2026, 3, 2, 6, tzinfo=UTC))) as box:
        assert sync(box).exit_code == 0
    for path in NOTEBOOKS:
        shown = run_cells(path, str(DATABASE))
        assert len(shown) > 8
        for value in shown:
            assert isinstance(value, str | pd.DataFrame) or value.to_dict()["title"]["text"], path.name


# Libraries of the kernel warn about each other.
@pytest.mark.filterwarnings("default")
def test_every_notebook_runs_on_a_database_that_it_is_given(tmp_path: Path, year: Path) -> None:
    database = Path(shutil.copy(year, tmp_path / "elsewhere.duckdb"))
    before = database.read_bytes()
    for path in NOTEBOOKS:
        done = papermill.execute_notebook(
            path, None, parameters={"DATABASE": database.name}, cwd=tmp_path, progress_bar=False, execution_timeout=120
        )
        assert any("injected-parameters" in cell.metadata.get("tags", []) for cell in done.cells)
        check_shown(done, path.name)
        assert texts(done) == texts(read(path)), f"{path.name} shows something else: make notebooks writes it anew"
    assert database.read_bytes() == before


def test_a_squeezed_picture_has_the_same_pixels() -> None:
    spec = importlib.util.spec_from_file_location("execute", HOME / "execute.py")
    assert spec and spec.loader
    execute: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(execute)
    pixels = zlib.compress(bytes(range(256)) * 40, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    parts = (
        chunk(b"IHDR", b"13 bytes more"),
        chunk(b"IDAT", pixels[:99]),
        chunk(b"IDAT", pixels[99:]),
        chunk(b"IEND", b""),
    )
    picture = execute.SIGNATURE + b"".join(parts)
    squeezed = execute.squeeze(picture)
    assert len(squeezed) < len(picture) / 4
    begin = squeezed.index(b"IDAT") + 4
    assert zlib.decompress(squeezed[begin:-16]) == bytes(range(256)) * 40
    assert squeezed.startswith(picture[:33]) and squeezed.endswith(parts[-1])


@each_notebook
def test_pictures_are_kept_small(path: Path) -> None:
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            assert len(b64decode(output.data.get("image/png", ""))) < 120_000
