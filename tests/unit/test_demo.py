"""When the demonstration syncs, and what the live one needs."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from orgx_source.cli import app
from orgx_source.cli.demo import days_of_syncs, run_live_demo
from orgx_source.errors import ConfigError


@pytest.mark.parametrize(("days", "count"), [(1, 2), (2, 3), (28, 7), (120, 16), (366, 47)])
def test_syncs_lie_evenly_and_the_last_night_is_an_ordinary_one(days: int, count: int) -> None:
    found = days_of_syncs(days)
    assert len(found) == count
    assert (found[0], found[-2:]) == (0, [days - 1, days])
    assert max(later - earlier for earlier, later in pairwise(found)) <= 9


def test_without_its_packages_the_live_demonstration_names_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "orgx_source.inbox.service", raising=False)
    monkeypatch.delattr("orgx_source.inbox.service", raising=False)
    monkeypatch.setitem(sys.modules, "orgx_source.inbox.app", None)
    with pytest.raises(ConfigError, match=r"pip install 'orgx-source\[events\]'"):
        run_live_demo(Path("x.duckdb"), "small", 1)
    assert not Path("x.duckdb").exists()


@pytest.mark.parametrize("option", [("--days", "3"), ("--start", "2026-09-01")])
def test_the_live_demonstration_is_of_no_other_day(option: tuple[str, str]) -> None:
    done = CliRunner().invoke(app, ["demo", "--live", *option])
    assert (done.exit_code, "--live cannot be combined" in done.output) == (2, True)
