"""``orgx-sync init``: what it writes, that the key is nobody else's to read, and that what it wrote is used."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from orgx_source.cli import app
from orgx_source.cli.init import _schedule, run_init
from orgx_source.cli.settings_file import read_options, write_settings
from orgx_source.config import reread_settings_files
from orgx_source.errors import ConfigError
from orgx_source.sandbox import Sandbox, World
from orgx_source.warehouse.target import Target

SECRETS, CONFIG = Path(".dlt/secrets.toml"), Path(".dlt/config.toml")
KEY = "oxk_1234567890abcdef"


def orgx_sync(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "orgx_source.cli", *arguments],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, **environment},
    )  # fmt: skip


def test_without_questions_it_takes_what_is_given_writes_it_and_a_run_uses_it() -> None:
    with Sandbox(World("small")) as box:
        where = {"ORGX_BASE_URL": box.url}
        done = orgx_sync(
            "init", "--yes", "--database", "mine.duckdb", "--dataset", "work", ORGX_API_KEY=box.api_key, **where
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert box.api_key not in done.stdout + done.stderr
        assert f"cd {Path.cwd()} && " in done.stdout
        assert not Path("mine.duckdb").exists()
        ran = orgx_sync("run", "--table", "workspaces", **where)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert tomllib.loads(SECRETS.read_text()) == {"sources": {"orgx": {"api_key": box.api_key}}}
    assert Path("mine.duckdb").exists()
    assert orgx_sync("query", "select count(*) from work.workspaces").returncode == 0


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Let dlt forget the settings files of this test, which it read in this process."""
    yield
    CONFIG.unlink()
    SECRETS.unlink()
    reread_settings_files()


@pytest.mark.usefixtures("forgotten")
def test_the_answers_are_written_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(World("small")) as box:
        monkeypatch.setenv("ORGX_BASE_URL", box.url)
        monkeypatch.setattr("orgx_source.cli.init._is_terminal", lambda: True)
        answers = f"nonsense\n{box.api_key}\n\n\nother.duckdb\n"
        done = CliRunner().invoke(app, ["init"], input=answers)
        assert done.exit_code == 0, done.output
    assert "malformed" in done.output
    assert "oxk_" not in done.output.replace("(oxk_...)", "").replace("should be oxk_", "")
    assert tomllib.loads(CONFIG.read_text())["orgx_sync"] == {
        "destination": "duckdb", "dataset": "orgx", "database": "other.duckdb"
    }  # fmt: skip


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_nobody_else_may_read_the_key(mask: int) -> None:
    before = os.umask(mask)
    try:
        SECRETS.parent.mkdir()
        SECRETS.write_text('# mine\n[sources.other]\ntoken = "x"\n')
        SECRETS.chmod(0o644)
        write_settings(api_key=KEY, credentials=("postgres", "postgresql://u:p@h/d"), options={"dataset": "orgx"})
    finally:
        os.umask(before)
    assert stat.S_IMODE(SECRETS.stat().st_mode) == 0o600
    assert SECRETS.read_text().startswith("# mine\n")
    assert tomllib.loads(SECRETS.read_text()) == {
        "sources": {"other": {"token": "x"}, "orgx": {"api_key": KEY}},
        "destination": {"postgres": {"credentials": "postgresql://u:p@h/d"}},
    }
    assert tomllib.loads(CONFIG.read_text())["orgx_sync"] == {"dataset": "orgx"}


def test_bad_input_writes_nothing_and_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="--yes"):
        run_init(Target(), yes=False)
    assert orgx_sync("init", "--yes").returncode == 3
    assert "The OrgX API key is malformed" in orgx_sync("init", "--yes", ORGX_API_KEY="abc").stderr
    refused = orgx_sync("init", "--yes", "--destination", "postgress", ORGX_API_KEY=KEY)
    assert (refused.returncode, "(did you mean postgres?)" in refused.stderr) == (3, True)
    assert not SECRETS.parent.exists()
    SECRETS.parent.mkdir()
    SECRETS.write_text(f'[sources.orgx\napi_key = "{KEY}"\n')
    with pytest.raises(ConfigError, match=r"secrets\.toml is not valid TOML: line 1") as refused:
        write_settings(api_key=KEY, credentials=None, options={})
    assert KEY not in str(refused.value)
    assert "line 1: not valid TOML" in orgx_sync("init", "--yes", ORGX_API_KEY=KEY).stderr
    assert not CONFIG.exists()


def test_options_in_the_file_count_after_those_of_command_and_environment() -> None:
    CONFIG.parent.mkdir()
    CONFIG.write_text('[orgx_sync]\ndatabase = "of-the-file.duckdb"\nmax_age = "2d"\n')
    assert "of-the-file.duckdb" in orgx_sync("status").stderr
    assert "of-the-environment.duckdb" in orgx_sync("status", ORGX_DATABASE="of-the-environment.duckdb").stderr
    assert "given.duckdb" in orgx_sync("status", "--database", "given.duckdb").stderr
    CONFIG.write_text('[orgx_sync]\ndatabse = "x"\n')
    refused = orgx_sync("status")
    assert refused.returncode == 3
    assert "unknown options in [orgx_sync]: databse" in refused.stderr
    CONFIG.write_text("\ufeff[orgx_sync]\ndataset = 'd'\n", "utf-8")
    assert read_options({"dataset": "dataset"}) == {"dataset": "d"}


@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        ("database = 5", 4, "5 does not exist yet"),
        ("max_age = 36", 4, "orgx.duckdb does not exist yet"),
        ("max_age = -1", 2, "'-1' is not a valid duration"),
        ("json = [1]", 3, "json in [orgx_sync] must be a single value, not a list"),
        ("dataset = {a = 1}", 3, "dataset in [orgx_sync] must be a single value, not a table"),
    ],
)
def test_an_option_in_the_file_may_have_any_type(line: str, code: int, sentence: str) -> None:
    CONFIG.parent.mkdir()
    CONFIG.write_text(f"[orgx_sync]\n{line}\n")
    done = orgx_sync("status")
    assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr


def test_a_repeatable_option_in_the_file_is_a_list_or_one_value() -> None:
    CONFIG.parent.mkdir()
    for value in ('"nothing"', '["tasks", "nothing"]'):
        CONFIG.write_text(f"[orgx_sync]\ntable = {value}\n")
        done = orgx_sync("run", ORGX_API_KEY=KEY)
        assert (done.returncode, "unknown table 'nothing'" in done.stderr) == (2, True), done.stderr


def test_a_linked_settings_file_stays_a_link_and_permissions_are_kept() -> None:
    CONFIG.parent.mkdir()
    for path, mode in ((SECRETS, 0o644), (CONFIG, 0o640)):
        kept = Path(f"kept-{path.name}")
        kept.write_text("# mine\n")
        kept.chmod(mode)
        path.symlink_to(kept.resolve())
    write_settings(api_key=KEY, credentials=None, options={"dataset": "d"})
    assert KEY in Path("kept-secrets.toml").read_text()
    assert SECRETS.is_symlink()
    assert CONFIG.is_symlink()
    assert [Path(f"kept-{path.name}").stat().st_mode & 0o777 for path in (SECRETS, CONFIG)] == [0o600, 0o640]


@pytest.mark.parametrize("content", ["sources = 5", '[sources]\norgx = "x"'])
def test_a_value_where_a_section_belongs_is_named(content: str) -> None:
    SECRETS.parent.mkdir()
    SECRETS.write_text(content)
    with pytest.raises(ConfigError, match=r"^sources(\.orgx)? in \.dlt is a single value"):
        write_settings(api_key=KEY, credentials=None, options={})
    assert SECRETS.read_text() == content


def test_the_line_for_cron_works_in_any_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("100% of the night's work")
    folder.mkdir()
    monkeypatch.chdir(folder)
    line = _schedule().splitlines()[-1]
    # cron replaces an escaped percent sign, and passes the rest to a shell.
    command = line.partition("cd ")[2].partition(" && ")[0].replace(r"\%", "%")
    assert shlex.split(command) == [str(Path.cwd())]
    assert "%" not in line.replace(r"\%", "")
