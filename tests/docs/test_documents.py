"""What the documents say is true: generated pages are current, README's code runs, no foreign words stand in them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_generated_pages_are_current() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "docs" / "build.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_ten_lines_of_the_readme_run() -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    assert len([line for line in code.group(1).splitlines() if line.strip()]) <= 10
    done = subprocess.run([sys.executable, "-c", code.group(1)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "active" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_every_command_and_exit_code() -> None:
    from orgx_source.cli import app

    assert all(f"orgx-sync {command}" in README for command in app.commands)
    assert all(f"| {code} |" in README for code in (0, 1, 2, 3, 4))
