"""What a sync costs, first and quiet: requests, seconds and peak memory, against a server without latency.

    make bench            # or: python benchmarks/sync.py --size large

The sandbox runs in a process of its own, each sync in a fresh one; peak memory is that process's largest resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", default="medium", choices=["small", "medium", "large"])
    parser.add_argument("--repeat", type=int, default=3, help="quiet syncs after the first")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        server = subprocess.Popen(
            [sys.executable, "-m", "orgx_source.cli", "sandbox", "--port", "0", "--size", options.size],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            announced = server.stdout.readline() if server.stdout else ""
            address = re.search(r"http://127\.0\.0\.1:\d+", announced)
            if address is None:
                sys.exit(f"the sandbox did not start: {announced!r}")
            print(f"{'sync':<12}{'seconds':>9}{'peak MB':>9}{'requests':>10}{'rows read':>11}{'rows written':>14}")
            for number in range(1 + options.repeat):
                _measure("first" if number == 0 else f"quiet {number}", address.group(), Path(place))
        finally:
            server.terminate()
            server.wait()


def _measure(name: str, url: str, place: Path) -> None:
    environment = {
        **os.environ,
        "ORGX_BASE_URL": url,
        "ORGX_API_KEY": "oxk_sandbox_" + "0" * 32,
        "DLT_DATA_DIR": str(place / "dlt"),
    }
    command = [sys.executable, "-m", "orgx_source.cli", "run", "--database", str(place / "bench.duckdb"), "--json"]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read()
    if status:
        sys.exit(text)
    report = json.loads(text)
    tables = report["tables"].values()
    written = sum(table["rows_new"] + table["rows_changed"] + table["rows_deleted"] for table in tables)
    peak = usage.ru_maxrss / 1024
    read = sum(table["rows_read"] for table in tables)
    print(f"{name:<12}{seconds:>9.1f}{peak:>9.0f}{report['requests']:>10,}{read:>11,}{written:>14,}")


if __name__ == "__main__":
    main()
