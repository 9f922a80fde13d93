"""What OrgX says cannot command the terminal of whoever runs a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from orgx_source.sandbox import Sandbox, World
from orgx_source.texts import visible
from tests.running import execute

EVIL = "\x1b]0;owned\x07 \x9b2J \u202e\n"


def told(box: Sandbox, *arguments: str) -> str:
    """Return what a command prints."""
    environment = {**os.environ, "ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "orgx_source.cli", *arguments, "--database", "x.duckdb"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    shown = (done.stdout + done.stderr).decode()
    assert visible(shown, keep_lines=True) == shown
    return shown


def test_no_command_prints_what_orgx_says_as_it_is() -> None:
    with Sandbox(World("small")) as box:
        workspace = box.world.get("workspace", next(iter(box.world.find("workspace")))) or {}
        box.world.edit("workspace", workspace["id"], name=f"North{EVIL}wind")
        initiative = box.world.get("initiative", next(iter(box.world.find("initiative")))) or {}
        box.world.insert("initiative", **{**initiative, "id": f"i{EVIL}1", f"field{EVIL}": 1})
        tables = ("--table", "initiatives", "--table", "workspaces")
        told(box, "run", "--verbose", *tables)
        assert r"North\x1b]0;owned\x07" in told(box, "check", *tables)
        execute("delete from orgx.initiatives where id like '%owned%'")
        assert r"i\x1b]0;owned\x07 \x9b2J \u202e\n1 is missing" in told(box, "verify", *tables)
        found = json.loads(told(box, "verify", "--json", *tables))
        assert f"i{EVIL}1" in [row["id"] for row in found["tables"]["initiatives"]["examples"]]
