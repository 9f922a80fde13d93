"""The benchmark works, counts what it times, and its page says what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from benchmarks import page
from benchmarks.cases import check_rows
from benchmarks.contenders import FLOOR, LOADING, OURS
from benchmarks.measure import RunFailedError, run
from benchmarks.page_server import PAGE_MOST, Tasks, make_rows

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("case", "ADEFGH")
def test_each_case_runs_on_a_few_rows(tmp_path: Path, case: str) -> None:
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--without-peers", "--results", str(results)]
    subprocess.run([*command, "--case", case], cwd=ROOT, check=True, capture_output=True)
    found = json.loads(results.read_text())
    # The nights of D and E are measured together.
    assert set(found["cases"]) == ({"D", "E"} if case in "DE" else {case})
    measured = found["cases"][case]
    assert measured and [figures["failed"] for figures in measured.values()] == [""] * len(measured)
    assert f"## {case}." in page.render(found)
    if case == "D":
        assert measured[OURS]["requests"][0] < measured[page.DLT]["requests"][0]
    if case == "A":
        assert list(measured) == [OURS, FLOOR, LOADING, page.DLT, page.PARQUET]
        best = {target.what: target.at_best for target in page.Results(found).targets()}
        seconds = {name: figures["seconds"][0] for name, figures in measured.items()}
        assert best["ours / floor"] == pytest.approx((seconds[FLOOR] + seconds[LOADING]) / seconds[FLOOR])


def test_every_contender_reads_the_same_rows_and_they_are_like_those_of_an_organisation() -> None:
    texts = list(make_rows(2_000))
    assert texts == list(make_rows(2_000)) and texts[:100] == list(make_rows(100))
    assert 650 < sum(map(len, texts)) / len(texts) < 750
    rows = [json.loads(text) for text in texts]
    assert len({row["id"] for row in rows}) == 2_000
    # Random ids: no two begin alike but by chance.
    assert len({row["id"][:8] for row in rows}) == 2_000
    assert len({row["title"] for row in rows}) > 1_000
    assert len({row["status"] for row in rows}) == 6
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)
    assert all(row["created_at"] <= row["updated_at"] for row in rows)


@pytest.mark.parametrize(("newest_first", "stamp"), [(False, "created_at"), (True, "updated_at")])
def test_the_page_server_keeps_to_its_orders(newest_first: bool, stamp: str) -> None:
    tasks = Tasks(250)
    pages = [json.loads(tasks.page(start, PAGE_MOST, newest_first=newest_first)) for start in (0, 100, 200)]
    rows = [row for page in pages for row in page["data"]]
    assert sorted(row["id"] for row in rows) == sorted(json.loads(text)["id"] for text in make_rows(250))
    assert [row[stamp] for row in rows] == sorted((row[stamp] for row in rows), reverse=newest_first)
    assert [page["pagination"]["has_more"] for page in pages] == [True, True, False]


def test_a_load_that_loses_a_row_has_no_time(tmp_path: Path) -> None:
    file = tmp_path / "bench.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("create table tasks as select range::varchar as id from range(9)")
    check_rows(file, 9)
    with pytest.raises(RunFailedError, match="not every one of 10 rows"):
        check_rows(file, 10)


def test_a_command_that_fails_has_no_time_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match="exit code 3: what went wrong"):
        run([sys.executable, "-c", "print('what went wrong'); raise SystemExit(3)"], tmp_path, {})


def test_the_peak_is_that_of_the_command(tmp_path: Path) -> None:
    small = run([sys.executable, "-c", "pass"], tmp_path, {})[1]
    large = run([sys.executable, "-c", "x = b'x' * 100_000_000"], tmp_path, {})[1]
    assert small < 30
    assert 90 < large - small < 110


def test_the_page_says_what_was_measured() -> None:
    found = json.loads(page.RESULTS.read_text())
    assert page.PAGE.read_text() == page.render(found)


def test_the_readme_quotes_what_was_measured() -> None:
    quoted = page.quotes(json.loads(page.RESULTS.read_text()))
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert len(quoted) == 4
    for sentence in quoted:
        assert sentence in readme
