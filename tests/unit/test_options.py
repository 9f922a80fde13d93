"""Options of the command: short forms, environment variables, and the ways to call it."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from orgx_source.cli import app

OPTIONS = [
    (name, option)
    for name, command in app.commands.items()
    for option in command.params
    if isinstance(option, click.Option)
]


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda value: getattr(value, "name", value))
def test_every_option_is_an_environment_variable_too(name: str, option: click.Option) -> None:
    variable = "ORGX_" + max(option.opts, key=len).lstrip("-").upper().replace("-", "_")
    if name in ("demo", "sandbox"):
        variable = variable.replace("ORGX_", f"ORGX_{name.upper()}_", 1)
    assert option.envvar == variable
    assert variable in CliRunner().invoke(app, [name, "-h"], env={"COLUMNS": "200"}).output


def test_an_environment_variable_counts_where_the_option_is_not_given() -> None:
    shown = CliRunner().invoke(app, ["status"], env={"ORGX_DATABASE": "elsewhere.duckdb"})
    assert "elsewhere.duckdb does not exist" in str(shown.exception)
    shown = CliRunner().invoke(app, ["status", "--database", "here.duckdb"], env={"ORGX_DATABASE": "elsewhere.duckdb"})
    assert "here.duckdb does not exist" in str(shown.exception)
    refused = CliRunner().invoke(app, ["status"], env={"ORGX_MAX_AGE": "soon"})
    assert (refused.exit_code, "ORGX_MAX_AGE" in refused.output) == (2, True)


def test_what_points_a_run_to_its_warehouse_does_not_point_the_demonstration_there() -> None:
    variables = {option.envvar for name, option in OPTIONS if name == "demo"}
    assert not variables & {option.envvar for name, option in OPTIONS if name != "demo"}


def test_the_package_can_be_run_by_its_name() -> None:
    done = subprocess.run([sys.executable, "-m", "orgx_source", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("orgx-sync ")
