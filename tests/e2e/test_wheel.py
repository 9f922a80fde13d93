"""The built wheel holds all that is needed: installed without the checkout, the README's ten lines run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_runs_the_ten_lines_without_the_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "orgx_source", source / "orgx_source", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=source, check=True)
    wheel = next((source / "dist").glob("orgx_source-*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    report = {f"orgx_source/html_report/page.{kind}" for kind in ("html", "css", "js")}
    assert {"orgx_source/py.typed", *report} <= set(names)
    assert not [name for name in names if not name.startswith(("orgx_source/", "orgx_source-"))]

    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed)]
    subprocess.run([*pip, str(wheel)], check=True)
    shutil.rmtree(source)
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code is not None
    # Without .pth files the checkout is out of reach; the dependencies come from this environment.
    libraries = os.pathsep.join([str(installed), sysconfig.get_path("purelib")])
    program = f"import orgx_source; assert {str(installed)!r} in orgx_source.__file__\n{code.group(1)}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": libraries},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "active" in done.stdout
