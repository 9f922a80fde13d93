"""The key is nowhere but in the header it is sent in: not in logs, errors, traces, state files or tables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orgx_source.sandbox import Fault, Sandbox, World

KEY = "oxk_" + "S3cretS3cret" * 3


FAULTS = [[], ["status=503"], ["html"], ["redirect=http://127.0.0.1:9"], ["closed=403@/api/entities"]]


@pytest.mark.parametrize("faults", FAULTS)
def test_no_file_and_no_output_holds_the_key(faults: list[str], tmp_path: Path) -> None:
    switched = [Fault.parse(text) for text in faults]
    with Sandbox(World("small"), api_key=KEY, faults=switched) as box:
        code = (
            "import logging; logging.basicConfig(level=logging.DEBUG)\n"
            "import dlt\n"
            "from orgx_source.config import load_config\n"
            "from orgx_source.sync import make_pipeline, run_sync\n"
            "config = load_config(max_wait=2)\n"
            "print(config)\n"
            "print(run_sync(config, make_pipeline()).to_json())\n"
            "from orgx_source import orgx_source\n"
            "source = orgx_source()\n"
            "print(source, vars(source.resources['tasks']))\n"
            "to = dlt.destinations.duckdb('y.duckdb')\n"
            "try: dlt.pipeline('plain', destination=to, dataset_name='d').run(source)\n"
            "except Exception:\n"
            "    import traceback; traceback.print_exc()\n"
        )
        environment = {
            **os.environ,
            "ORGX_API_KEY": KEY,
            "ORGX_BASE_URL": box.url,
            "RUNTIME__LOG_LEVEL": "DEBUG",
        }
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert "run_id" in done.stdout, done.stderr[-2000:]
        assert "DEBUG" in done.stderr
        assert KEY not in done.stdout
        assert KEY not in done.stderr
        assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_key_that_orgx_echoes_is_masked(tmp_path: Path) -> None:
    with Sandbox(World("small"), api_key=KEY) as box:
        box.world.edit("initiative", next(iter(box.world.find("initiative"))), summary=f"pasted {KEY} here")
        command = [sys.executable, "-m", "orgx_source.cli", "run", "--json"]
        environment = {**os.environ, "ORGX_API_KEY": KEY, "ORGX_BASE_URL": box.url}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0
        assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
