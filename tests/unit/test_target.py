"""Where a warehouse is: one value, made from the options of a command or the arguments of a script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import duckdb
import pytest
from click.testing import CliRunner

from orgx_source.cli import options
from orgx_source.sync import make_pipeline
from orgx_source.warehouse.target import Target


def test_what_is_not_given_is_a_file_in_this_folder() -> None:
    target = Target()
    assert target == Target("duckdb", "orgx", Path("orgx.duckdb"))
    assert target.is_file
    pipeline = target.pipeline()
    assert (pipeline.dataset_name, pipeline.destination.destination_name) == ("orgx", "duckdb")


def test_only_a_file_can_be_missing() -> None:
    assert Target().is_missing
    Path("orgx.duckdb").touch()
    assert not Target().is_missing
    assert not Target("postgres", database=Path("nowhere.duckdb")).is_missing


@pytest.mark.parametrize("was_there", [True, False])
def test_a_file_that_only_asking_has_made_goes_again(was_there: bool) -> None:
    target = Target(database=Path("x.duckdb"))
    if was_there:
        duckdb.connect("x.duckdb").close()
    with pytest.raises(KeyboardInterrupt), target.left_missing():
        duckdb.connect("x.duckdb").close()
        raise KeyboardInterrupt
    assert target.is_missing is not was_there


def test_a_file_of_another_destination_is_left_alone() -> None:
    with Target("postgres", database=Path("x.duckdb")).left_missing():
        Path("x.duckdb").touch()
    assert Path("x.duckdb").exists()


def test_scripts_and_commands_mean_the_same_place() -> None:
    file = Path("x.duckdb")
    assert make_pipeline(dataset="mine", database="x.duckdb").pipelines_dir == str(
        Target(dataset="mine", database=file).pipeline().pipelines_dir
    )
    assert make_pipeline(database=file).pipelines_dir == Target(database=file.resolve()).pipeline().pipelines_dir
    assert make_pipeline(database=file).pipelines_dir != Target(database=Path("y.duckdb")).pipeline().pipelines_dir


def test_a_command_gets_its_three_options_as_one_target() -> None:
    seen = []

    @click.command()
    @options.warehouse
    @click.option("--full", is_flag=True)
    def look(target: Target, full: bool) -> None:
        """Look."""
        seen.append((target, full))

    assert [option.name for option in look.params] == ["destination", "dataset", "database", "untested", "full"]
    assert look.help == "Look."
    CliRunner().invoke(look, ["--destination", "postgres", "--dataset", "mine", "--full"], catch_exceptions=False)
    CliRunner().invoke(look, ["--database", "x.duckdb"], catch_exceptions=False)
    assert seen == [(Target("postgres", "mine"), True), (Target(database=Path("x.duckdb")), False)]


def test_a_target_is_known_before_dlt_is_imported() -> None:
    code = "import sys; from orgx_source.cli import options; sys.exit('dlt' in sys.modules or 'sqlglot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_file_that_a_run_fills_meanwhile_stays() -> None:
    target = Target(database=Path("x.duckdb"))
    with target.left_missing(), duckdb.connect("x.duckdb") as connection:
        connection.execute("create schema orgx")
    assert target.database.exists()


def test_a_file_that_another_process_has_open_stays() -> None:
    target = Target(database=Path("x.duckdb"))
    held = "import duckdb; c = duckdb.connect('x.duckdb'); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        with target.left_missing():
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
        assert target.database.exists()
        process.communicate("\n")
