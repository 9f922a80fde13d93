"""Measures every case; writes results.json, and docs/benchmarks.md with its chart from that.

make bench
python -m benchmarks --case A --case D      # only some cases; the others keep their results
python -m benchmarks --tiny --results FILE  # one minute, to see that everything works
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.cases import (
    TINY,
    Sizes,
    event_case,
    first_loads,
    latency_case,
    later_loads,
    long_case,
    nights_case,
    starts,
)
from benchmarks.contenders import dlt_rest_api, floor, installed_peers, loading, ours
from benchmarks.measure import Figures
from benchmarks.page import RESULTS, write_page
from benchmarks.page_server import ABOUT

CASES = ("A", "B", "C", "D", "E", "F", "G", "H")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", action="append", choices=CASES, help="only this case; repeatable")
    parser.add_argument("--tiny", action="store_true", help="a few hundred rows, one round")
    parser.add_argument("--without-peers", action="store_true", help="skip tools that must be installed")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    sizes = TINY if options.tiny else Sizes()
    wanted = options.case or CASES
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    peers, missing = ([], {}) if options.without_peers else installed_peers()
    everybody = [
        ours("--table", "tasks"),
        floor(),
        loading(),
        dlt_rest_api(),
        dlt_rest_api("--parquet", name="dlt rest_api, parquet"),
        *peers,
    ]
    results.update(
        machine=_machine(), sizes=asdict(sizes), missing=missing,
        versions={contender.name: contender.versions() for contender in everybody},
    )  # fmt: skip
    cases: dict[str, Any] = results.setdefault("cases", {})
    measured_on: dict[str, str] = results.setdefault("measured", {})
    rows: dict[str, str] = results.setdefault("rows", {})
    commits: dict[str, str] = results.setdefault("commits", {})
    # Before the first case writes its results: the checkout is changed from then on.
    commit = _commit()

    def keep(case: str, figures: dict[str, Figures]) -> None:
        cases[case] = {name: asdict(measured) for name, measured in figures.items()}
        measured_on[case] = f"{datetime.now(UTC):%Y-%m-%d}"
        commits[case] = commit
        if case in "ABC":
            rows[case] = ABOUT
        options.results.write_text(json.dumps(results, indent=1) + "\n")

    if "A" in wanted:
        _say("A", f"{sizes.a:,} rows, no latency")
        keep("A", first_loads(sizes.a, 0.0, everybody, [sizes.rounds] * len(everybody), _tell))
    if "B" in wanted:
        _say("B", f"{sizes.b:,} rows, {sizes.latency * 1000:.0f} ms")
        keep("B", latency_case(sizes, everybody[2:], _tell))
    if "C" in wanted:
        _say("C", f"{sizes.c:,} rows, no latency")
        # Without dlt's default, which needs more memory than the machine has.
        keep("C", long_case(sizes, everybody[4:], _tell))
    if "D" in wanted or "E" in wanted:
        _say("D, E", f"{sizes.organisation} organisation, read again")
        quiet, changed = later_loads(sizes, _tell)
        keep("D", quiet)
        keep("E", changed)
    if "F" in wanted:
        _say("F", "command start")
        keep("F", starts(sizes, _tell))
    if "G" in wanted:
        _say("G", f"{sizes.events} events, {sizes.organisation} organisation")
        keep("G", event_case(sizes, _tell))
    if "H" in wanted:
        _say("H", f"{sizes.nights} nights in one process, {sizes.nights_as_commands} as commands")
        keep("H", nights_case(sizes, _tell))
    if options.results == RESULTS:
        write_page(results)


def _commit() -> str:
    """Return the current commit; empty outside a clone."""
    command = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": models[0] if models else platform.processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(pages / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _say(case: str, what: str) -> None:
    print(f"\n{case}: {what}", flush=True)


def _tell(line: str) -> None:
    print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
