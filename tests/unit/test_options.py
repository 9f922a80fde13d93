"""Options of the command: short forms, environment variables, and the ways to call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import duckdb
import pytest
from click.testing import CliRunner

from orgx_source.cli import app
from orgx_source.marts import load_marts
from orgx_source.sandbox import Sandbox, World

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


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["export", ""], 2, "the path is empty"),
        (["report", "--output", ""], 2, "the path is empty"),
        (["query", "--database", "", "select 1"], 2, "the path is empty"),
        (["tables", "task"], 2, "unknown table 'task' (did you mean tasks?); known tables: workspaces,"),
        (["run", "--route", "Decision=mcp"], 2, "unknown table 'Decision' (did you mean decisions?)"),
        (["sandbox", "--webhook-secret", "s"], 2, "add --webhook URL"),
        (["sandbox", "--fault", "clamp=abc"], 3, "clamp needs a number, not 'abc'"),
        (["sandbox", "--webhook", "127.0.0.1:9", "--webhook-secret", "s"], 3, "'127.0.0.1:9' is not an http URL"),
        (["run", "--table", "tasks,runs"], 2, "unknown table 'tasks,runs' (give one name at a time)"),
        (["run", "--max-wait", "7200s"], 2, "'7200s' is not a valid number of seconds"),
        (["run", "--sample", "three"], 2, "'three' is not a valid whole number"),
        (["run", "--dataset", ""], 2, "the name is empty"),
        (["run", "--destination", " "], 2, "the name is empty"),
        (["run", "-quiet"], 2, "No such option '-quiet'. Did you mean '--quiet'?"),
        (["run", "-q", "-x"], 2, "No such option '-x'."),
        (["run", "now"], 2, "Unexpected argument 'now': run takes only options."),
        (["run", "--table", "tasks", "runs"], 2, "run takes only options. Did you mean '--table runs'?"),
        (["check", "--full"], 2, "check has no option '--full'; it is an option of run and plan."),
        (["--quiet", "run"], 2, "Options follow the command, as in 'orgx-sync run --quiet'."),
        (["query", "select", "1"], 2, "Unexpected argument '1': put the whole SQL statement in quotes."),
        (["export", "out", "csv"], 2, "Unexpected argument 'csv': export takes one DIR."),
        (["tables", "tasks", "runs"], 2, "Unexpected argument 'runs': tables takes one TABLE."),
        (["demo", "--start", "tomorrow"], 2, "'tomorrow' is not a date such as 2026-09-01"),
        (["demo", "--database", "nowhere/x.duckdb"], 3, "the folder nowhere does not exist. Create it"),
        (["demo", "--live", "--database", "nowhere/x.duckdb"], 3, "the folder nowhere does not exist. Create it"),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_is_created(arguments: list[str], code: int, sentence: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert sentence in f"{done.output} {done.exception}"
    assert getattr(done.exception, "exit_code", done.exit_code) == code
    assert list(Path().iterdir()) == []


READERS = [
    ["status"],
    ["verify"],
    ["export", "out"],
    ["report"],
    ["marts"],
    ["query", "select 1"],
    ["run"],
    ["plan"],
]


@pytest.mark.parametrize("arguments", READERS, ids=lambda arguments: arguments[0])
def test_a_file_in_a_folder_that_does_not_exist_has_one_sentence_and_nothing_is_made(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, [*arguments, "--database", "nowhere/x.duckdb"])
    assert str(done.exception) == "--database nowhere/x.duckdb: the folder nowhere does not exist. Create it"
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("arguments", READERS[:6], ids=lambda arguments: arguments[0])
def test_a_file_that_does_not_exist_yet_has_one_sentence_for_all_that_read_it(arguments: list[str]) -> None:
    key = {"ORGX_API_KEY": "oxk_of_nobody_at_all"}
    done = CliRunner().invoke(app, [*arguments, "--database", "x.duckdb"], env=key)
    sentence = "x.duckdb does not exist yet; orgx-sync run creates it. --database selects another file"
    assert (str(done.exception), getattr(done.exception, "exit_code", 0)) == (sentence, 4)
    assert not Path("x.duckdb").exists()


@pytest.mark.parametrize("arguments", READERS[:6], ids=lambda arguments: arguments[0])
def test_a_dataset_that_is_not_in_the_file_is_named_and_costs_no_request(arguments: list[str]) -> None:
    duckdb.connect("x.duckdb").close()
    with Sandbox(World("small")) as box:
        key = {"ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url}
        where = ["--database", "x.duckdb", "--dataset", "nope"]
        done = CliRunner().invoke(app, [*arguments, *where], env=key, standalone_mode=False)
        assert box.count("/api/entities") == 0
    sentence = {"query": "x.duckdb has no dataset nope", "report": "There is no nope_marts."}.get(
        arguments[0], "The dataset nope is empty; orgx-sync run fills it. --dataset selects another one"
    )
    assert sentence in f"{done.output} {done.exception}"
    assert getattr(done.exception, "exit_code", done.return_value) == 4


@pytest.mark.parametrize("name", ["tasks", "tasks_history", "sync_log", "memory_hits", "webhook_events"])
def test_every_table_of_a_dataset_is_described(name: str) -> None:
    document = json.loads(CliRunner().invoke(app, ["tables", name, "--json"]).output)
    columns = [column["name"] for column in document[name]["columns"]]
    assert len(columns) > 8
    shown = CliRunner().invoke(app, ["tables", name], env={"COLUMNS": "200"}).output
    assert all(column in shown for column in columns)
    assert ("valid_from" in columns, "last_changed_at" in columns) == (name == "tasks_history", name == "tasks")


def test_every_mart_is_listed_and_described() -> None:
    listed = CliRunner().invoke(app, ["tables"], env={"COLUMNS": "80"}).output
    for name, mart in load_marts().items():
        assert (name in listed) is not mart.is_staging
        document = json.loads(CliRunner().invoke(app, ["tables", name, "--json"]).output)[name]
        assert (document["grain"], document["key"]) == (mart.grain, list(mart.key))
        shown = CliRunner().invoke(app, ["tables", name], env={"COLUMNS": "200"}).output
        assert all(column["name"] in shown for column in document["columns"])
        assert shown.startswith(f"{name}: ")


def test_what_points_a_run_to_its_warehouse_does_not_point_the_demonstration_there() -> None:
    variables = {option.envvar for name, option in OPTIONS if name == "demo"}
    assert not variables & {option.envvar for name, option in OPTIONS if name != "demo"}


def test_the_package_can_be_run_by_its_name() -> None:
    done = subprocess.run([sys.executable, "-m", "orgx_source", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("orgx-sync ")
