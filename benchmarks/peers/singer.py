"""Tasks of an OrgX server into DuckDB as `tap | target-duckdb` (target-duckdb's README, "To run")."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TAP = Path(__file__).with_name("singer_tap.py")
SCHEMA = "main"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--key", default="oxk_sandbox_" + "0" * 32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tap_config, target_config = Path(folder, "tap.json"), Path(folder, "target.json")
        tap_config.write_text(json.dumps({"api_url": options.url, "auth_token": options.key}))
        target_config.write_text(json.dumps({"path": options.database, "default_target_schema": SCHEMA}))
        target_command = Path(sys.executable).with_name("target-duckdb")
        tap = subprocess.Popen([sys.executable, str(TAP), "--config", str(tap_config)], stdout=subprocess.PIPE)
        target = subprocess.Popen(
            [str(target_command), "--config", str(target_config)], stdin=tap.stdout, stdout=subprocess.DEVNULL
        )
        # Only the target may hold the reading end, or the tap would not notice when the target ends early.
        if tap.stdout:
            tap.stdout.close()
        codes = {"tap": tap.wait(), "target-duckdb": target.wait()}
    for command, code in codes.items():
        if code:
            print(f"{command} ended with exit code {code}", file=sys.stderr)
    return 1 if any(codes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
