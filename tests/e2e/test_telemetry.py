"""The command tells nobody that it runs."""

from __future__ import annotations

import os
import subprocess
import sys

from orgx_source.sandbox import Sandbox, World


def told(**environment: str) -> int:
    """Return how many events of dlt's telemetry a run sends."""
    with Sandbox(World("small")) as box:
        settings = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
        settings |= {"ORGX_API_KEY": box.api_key, "ORGX_BASE_URL": box.url, **environment}
        settings["RUNTIME__DLTHUB_TELEMETRY_ENDPOINT"] = f"{box.url}/telemetry"
        command = [sys.executable, "-m", "orgx_source.cli", "run", "--quiet", "--table", "initiatives"]
        assert subprocess.run(command, env=settings).returncode == 0
        return box.count("/telemetry")


def test_telemetry_is_off_unless_the_user_wants_it() -> None:
    assert told() == 0
    assert told(RUNTIME__DLTHUB_TELEMETRY="true") > 0
