"""The key is nowhere but in the header it is sent in: not in logs, errors, traces, state files or tables."""

from __future__ import annotations

import json
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


def test_no_token_of_a_login_and_no_code_is_in_any_output(tmp_path: Path) -> None:
    """The file that keeps the login is the one place where its tokens stand."""
    pytest.importorskip("mcp")
    with Sandbox(World("small"), faults=[Fault("lost_session", after=6, times=1)]) as box:
        box.world.edit("initiative", next(iter(box.world.find("initiative"))), summary="before")
        code = (
            "import logging; logging.basicConfig(level=logging.DEBUG)\n"
            "import httpx, os\n"
            "from orgx_source.config import load_config\n"
            "from orgx_source.login import flow, tokens\n"
            "from orgx_source.sync import make_pipeline, run_sync\n"
            "url = os.environ['ORGX_MCP_URL']\n"
            "press = lambda address: httpx.get(address + '&answer=allow', follow_redirects=True)\n"
            "logging.getLogger('httpx').setLevel(logging.ERROR)\n"
            "logging.getLogger('httpcore').setLevel(logging.ERROR)\n"
            "print(flow.log_in(url, lambda address: None, press))\n"
            "logging.getLogger('httpx').setLevel(logging.DEBUG)\n"
            "logging.getLogger('httpcore').setLevel(logging.DEBUG)\n"
            "config = load_config()\n"
            "print(config)\n"
            "print(run_sync(config, make_pipeline()).to_json())\n"
        )
        environment = {**os.environ, "ORGX_MCP_URL": box.mcp_url, "RUNTIME__LOG_LEVEL": "DEBUG"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert "'status': 'ok'" in done.stdout, done.stderr[-2000:]
        (stored,) = (tmp_path / "config").rglob("*.json")
        login = json.loads(stored.read_text())
        secrets = [login["access_token"], login["refresh_token"], *box.oauth.codes]
        others = [path for path in tmp_path.rglob("*") if path.is_file() and path != stored]
        for secret in secrets:
            assert secret not in done.stdout + done.stderr
            assert all(secret.encode() not in path.read_bytes() for path in others)


def test_a_key_that_orgx_echoes_is_masked(tmp_path: Path) -> None:
    with Sandbox(World("small"), api_key=KEY) as box:
        box.world.edit("initiative", next(iter(box.world.find("initiative"))), summary=f"pasted {KEY} here")
        command = [sys.executable, "-m", "orgx_source.cli", "run", "--json"]
        environment = {**os.environ, "ORGX_API_KEY": KEY, "ORGX_BASE_URL": box.url}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0
        assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
