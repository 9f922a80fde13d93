"""Every notebook runs from top to bottom on the demonstration's database, and each picture is drawn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "orgx_source.cli", "demo"]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    return place


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


# The kernel talks over loopback TCP and says so.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_draws(path: Path, demo: Path) -> None:
    notebook: Any = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(demo)}}).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
            assert "alt.Chart(" not in cell.source or "image/png" in kinds, cell.source
            assert not any(output.output_type == "stream" and output.name == "stderr" for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    notebook: Any = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
