"""The documents are correct: generated pages are current, README's code runs, links and named tests exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from orgx_source.sandbox import Sandbox, World
from tests.running import execute, sync

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


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def _commands() -> list[str]:
    """Return every command line of the README's shell blocks and of its lines for cron, without comments."""
    lines = "\n".join([*_blocks("sh"), *(text for text in _blocks("text") if text.startswith("15 2 * * *"))])
    parts = re.split(r"\n|&&|;|\|\|", re.sub(r"\s#.*|^15 2 \* \* \*", "", lines, flags=re.MULTILINE))
    return [part.strip() for part in parts if part.strip()]


@pytest.mark.parametrize("line", sorted(set(_commands())))
def test_every_command_line_of_the_readme_is_understood(line: str) -> None:
    from orgx_source.cli import app

    program, *arguments = shlex.split(line)
    match Path(program).name, arguments:
        case "orgx-sync", [name, *options]:
            app.commands[name].make_context(name, options)
        case "make", [target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case "pip", ["install", what]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            assert what.removeprefix(".[").removesuffix("]") in project["optional-dependencies"]
        case "export", [variable]:
            assert variable == "ORGX_WEBHOOK_SECRET=..."
        case known, _:
            assert known in ("cd", "echo", "python3")


@pytest.mark.marts
def test_the_queries_and_the_notebook_cell_of_the_readme_run() -> None:
    with Sandbox(World("small")) as box:
        sync(box, database=Path("orgx.duckdb"))
    queries = _blocks("sql")
    assert len(queries) == 3
    for sql in queries:
        execute(sql, database=Path("orgx.duckdb"))
    cell = _blocks("python")[1]
    done = subprocess.run([sys.executable, "-c", cell], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_saved_search_of_the_readme_is_valid() -> None:
    (settings,) = _blocks("toml")
    Path(".dlt").mkdir()
    Path(".dlt/config.toml").write_text(settings)
    # A process of its own: dlt keeps settings files in memory.
    code = "from orgx_source.config import load_config; print(*load_config(api_key='oxk_of_nobody_at_all').memory)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "name='launch', query='launch audience'" in done.stdout, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_every_command_and_exit_code() -> None:
    from orgx_source.cli import app

    assert all(f"orgx-sync {command}" in README for command in app.commands)
    assert all(f"| {code} |" in README for code in (0, 1, 2, 3, 4))


GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text()


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`(tests/[^`]+)`", GUARANTEES))))
def test_what_holds_us_to_a_sentence_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert not name or f"def {name}(" in (ROOT / file).read_text()
    assert (ROOT / file).exists()


def test_every_promise_of_the_readme_has_its_tests() -> None:
    section = README.partition("## What you can rely on")[2].partition("\n## ")[0]
    promised = _words(section)
    for line in re.findall(r"^\| (?!sentence|---)(.*) \| `", GUARANTEES, re.MULTILINE):
        missing = [word for word in _words(line) if word not in promised]
        assert not missing, f"{line!r} says {missing}, the README does not"
    for promise in re.findall(r"^\* \*\*(.*?)\*\*", section, re.MULTILINE):
        rest = section.partition(f"**{promise}**")[2].partition("\n* **")[0]
        words = set(_words(promise + rest))
        kept = [
            line
            for line in GUARANTEES.splitlines()
            if line.startswith("| ") and set(_words(line.split("|")[1])) <= words
        ]
        assert kept, f"no test is named for: {promise}"


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9_]{2,}", text.lower())
