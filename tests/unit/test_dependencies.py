"""What pyproject.toml declares is used, and what the package imports is declared."""

from __future__ import annotations

import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.unit.test_rooms import imports

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGE = "orgx_source"
FOLDERS = (PACKAGE, "pipelines", "docs", "notebooks", "benchmarks", "tests")
EXTRAS = PROJECT["optional-dependencies"]
# What only development needs; the other extras are for users.
DEV = "dev"

# What no Python file imports, and who uses it then.
NOT_IMPORTED = {
    "editables": "hatchling makes the editable install of `make setup` with it",
    "hatchling": "the build backend; tests/e2e/test_wheel.py runs it as a program",
    "jupyterlab": "`make lab` starts it, and it brings the kernel that runs the notebooks",
    "mypy": "`make lint` runs it",
    "pandas-stubs": "mypy reads the types that the signatures of altair and duckdb name",
    "pytest-xdist": "gives pytest its -n, which is set in pyproject.toml",
    "ruff": "`make lint` and `make format` run it",
    "uv": "`make lock`, `make lowest` and `make newest` run it",
}


# What the interface of a declared package is made of: it brings them itself, and says which version.
BROUGHT = {"anyio", "httpx2", "mcp-types", "pydantic"}


def names(requirements: list[str]) -> set[str]:
    """Return the names of requirements, as the index spells them."""
    found = {re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0] for requirement in requirements}
    return {name.lower().replace("_", "-") for name in found} - {PROJECT["name"]}


RUNTIME = names(PROJECT["dependencies"])
FOR_USERS = RUNTIME.union(*(names(listed) for extra, listed in EXTRAS.items() if extra != DEV))
DECLARED = FOR_USERS | names(EXTRAS[DEV])


@cache
def imported(*folders: str) -> set[str]:
    """Return the names of the distributions from which the files in some folders import."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    distributions = packages_distributions()
    modules = {name.split(".")[0] for path in files for name in imports(path)} - sys.stdlib_module_names
    return {found.lower().replace("_", "-") for module in modules for found in distributions.get(module, [module])}


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_a_declared_dependency_is_used(name: str) -> None:
    found = imported(PACKAGE) if name in RUNTIME else imported(*FOLDERS)
    if name in NOT_IMPORTED:
        assert name not in found, f"{name} is imported: take it off NOT_IMPORTED"
    else:
        assert name in found, f"nobody imports {name}: do without it, or say here who uses it"


def test_what_is_named_here_is_declared() -> None:
    assert NOT_IMPORTED.keys() <= DECLARED


def test_what_the_package_imports_is_declared_for_its_users() -> None:
    assert imported(PACKAGE) - {PROJECT["name"]} - BROUGHT <= FOR_USERS


def test_all_means_every_extra_for_users() -> None:
    extras = ",".join(extra for extra in EXTRAS if extra not in (DEV, "all"))
    assert EXTRAS["all"] == [f"{PROJECT['name']}[{extras}]"]
