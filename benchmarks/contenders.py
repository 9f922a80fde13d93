"""The contenders and their commands: this project, the floor, and the alternatives that a user has."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / "build" / "bench"
KEY = "oxk_sandbox_" + "0" * 32
OURS = "orgx-sync"
FLOOR = "floor"
LOADING = "loading alone"


@dataclass(frozen=True)
class Contender:
    """A command that loads a list of tasks, or an organisation, into a DuckDB file.

    Attributes:
        name: Its name on the page.
        command: The command; ``{url}``, ``{database}`` and ``{rows}`` (a Parquet file) are filled in.
        packages: Distributions whose versions are reported.
        python: The interpreter that has these packages.
        environment: Additional environment variables.
    """

    name: str
    command: tuple[str, ...]
    packages: tuple[str, ...]
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_given_rows(self) -> bool:
        """Whether it receives rows that were already read."""
        return "{rows}" in self.command

    def arguments(self, url: str, database: Path, rows: Path | None = None) -> list[str]:
        """Return the command for a server and a file."""
        return [part.format(url=url, database=database, rows=rows) for part in self.command]

    def versions(self) -> dict[str, str]:
        """Return the versions of its packages in its own interpreter."""
        code = f"from importlib.metadata import version\nfor p in {self.packages!r}: print(p, version(p))"
        printed = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True).stdout
        return dict(line.split(" ", 1) for line in printed.splitlines())


def _script(name: str, *options: str) -> tuple[str, ...]:
    return (str(HERE / name), "--url", "{url}", "--database", "{database}", *options)


def ours(*options: str) -> Contender:
    """Return the command of this project, with options of `orgx-sync run`."""
    command = (str(Path(sys.executable).with_name("orgx-sync")), "run", "--quiet", "--database", "{database}", *options)
    return Contender(
        OURS, command, ("orgx-source", "dlt", "duckdb", "httpx", "pyarrow"), environment={"ORGX_BASE_URL": "{url}"}
    )


def floor() -> Contender:
    """Return the floor: a lower bound for anyone who uses these libraries."""
    return Contender(FLOOR, (sys.executable, *_script("floor.py")), ("httpx", "orjson", "pyarrow", "duckdb"))


def loading() -> Contender:
    """Return this project's load without reading: the cost of merge and history."""
    command = (sys.executable, str(HERE / "loading.py"), "--rows", "{rows}", "--database", "{database}")
    return Contender(LOADING, command, ("dlt", "duckdb", "pyarrow"))


def dlt_rest_api(*options: str, name: str = "dlt rest_api") -> Contender:
    """Return dlt's declarative source in this project's own environment: the same dlt and the same DuckDB."""
    return Contender(name, (sys.executable, *_script("peers/dlt_rest_api.py", *options)), ("dlt", "duckdb"))


def installed_peers() -> tuple[list[Contender], dict[str, str]]:
    """Install the tools that need their own environments; return those that work, and the reasons for the others."""
    contenders, missing = [], {}
    for name, script, packages in (
        ("Singer tap | target-duckdb", "singer", ("singer-sdk", "target-duckdb", "duckdb")),
        ("PyAirbyte", "pyairbyte", ("airbyte", "airbyte-cdk", "duckdb")),
    ):
        try:
            python = _environment(script)
            peer = Contender(name, (python, *_script(f"peers/{script}.py")), packages, python)
            peer.versions()
            contenders.append(peer)
        except (subprocess.CalledProcessError, OSError) as error:
            said = getattr(error, "stderr", "") or str(error)
            missing[name] = " ".join(said.split())[-300:]
    return contenders, missing


def _environment(name: str) -> str:
    """Return the interpreter of an environment with a peer's packages; created once."""
    place, listed = ENVIRONMENTS / name, HERE / "peers" / f"{name}.txt"
    python, ready = place / "bin" / "python", place / "ready.txt"
    if not ready.exists() or ready.read_text() != listed.read_text():
        venv.create(place, clear=True, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", listed]
        subprocess.run(install, capture_output=True, text=True, check=True)
        ready.write_text(listed.read_text())
    return str(python)
