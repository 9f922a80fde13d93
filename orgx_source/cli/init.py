"""``orgx-sync init``: asks for the settings a run needs, saves and tests them, and prints a cron line."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import click

from orgx_source.cli.settings_file import CONFIG, SECRETS, write_settings
from orgx_source.config import check_key, check_settings_files, load_config, reread_settings_files
from orgx_source.errors import ConfigError
from orgx_source.warehouse.target import FILE_DESTINATION, Target


def run_init(target: Target, *, yes: bool) -> int:
    """Ask, write ``.dlt/secrets.toml`` and ``.dlt/config.toml``, run the checks, and print a line for cron.

    Args:
        target: Where the warehouse is; the defaults of the questions.
        yes: Ask no questions; use options and environment variables.

    Raises:
        ConfigError: There is no key, and no terminal to ask for it.
    """
    if not yes and not _is_terminal():
        raise ConfigError("init needs a terminal for its questions. Use --yes with ORGX_API_KEY and options instead.")
    key = _key_found(required=yes)
    if not yes:
        key = click.prompt("OrgX API key (oxk_...)", default=key, hide_input=True, show_default=False, type=_Key())
        target = _ask_where(target)
    _check_target(target)
    credentials = None if yes or target.is_file else _ask_credentials(target.destination)
    options = {"destination": target.destination, "dataset": target.dataset}
    if target.is_file:
        options["database"] = str(target.database)
    write_settings(api_key=check_key(key), credentials=credentials, options=options)
    reread_settings_files()
    click.echo(f"Wrote {SECRETS} (readable only by you) and {CONFIG}.\n")
    code = _check(target)
    click.echo(f"\n{_schedule()}" if code == 0 else "\nFix this, then run orgx-sync check.")
    return code


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


class _Key(click.ParamType[str]):
    name = "key"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the key; fail with what is wrong with it."""
        try:
            return check_key(value)
        except ConfigError as error:
            self.fail(str(error).partition(". Set ")[0].partition(" Set ")[0])


def _key_found(*, required: bool) -> str | None:
    """Return the key in the settings; None if there is none, or an unusable one that need not be used."""
    check_settings_files()
    try:
        return load_config().api_key
    except ConfigError:
        if required:
            raise
        return None


def _check_target(target: Target) -> None:
    """Fail before anything is written if the destination or the folder of the file does not exist."""
    target.require_folder()
    target.pipeline()


def _ask_where(target: Target) -> Target:
    destination = click.prompt("Destination (duckdb, postgres, ...)", default=target.destination).strip()
    dataset = click.prompt("Dataset (schema)", default=target.dataset).strip()
    if destination != FILE_DESTINATION:
        return replace(target, destination=destination, dataset=dataset)
    database = Path(click.prompt("DuckDB file", default=str(target.database)).strip())
    return replace(target, destination=destination, dataset=dataset, database=database)


def _ask_credentials(destination: str) -> tuple[str, str] | None:
    """Return a destination and its address; None to keep the existing settings."""
    address = click.prompt(
        f"Address of {destination}, such as postgresql://user:password@host:5432/database (empty: already set)",
        default="",
        hide_input=True,
        show_default=False,
    ).strip()
    return (destination, address) if address else None


def _check(target: Target) -> int:
    from orgx_source.cli import console
    from orgx_source.commands.check import run_check

    with target.left_missing(), console.progress(quiet=False) as progress:
        report = run_check(load_config(), target.pipeline(), on_table=progress.looking_at)
    console.print_check(report)
    return report.exit_code


def _schedule() -> str:
    command = Path(sys.argv[0]).absolute()
    # cron takes an unescaped % for the end of the line.
    folder, program = (shlex.quote(str(path)).replace("%", r"\%") for path in (Path.cwd(), command))
    line = f"15 2 * * *  cd {folder} && {program} run --quiet"
    ignored = Path(".gitignore")
    note = ""
    if Path(".git").exists() and str(SECRETS) not in (ignored.read_text() if ignored.is_file() else ""):
        note = f"\nAdd {SECRETS} to .gitignore: it holds the key."
    return f"Next: orgx-sync run\nEvery night, with cron:\n{line}{note}"
