"""What a run leaves on this machine belongs to one destination, one database and one dataset."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orgx_source.errors import ConfigError
from orgx_source.warehouse.pipeline import file_folder, make_pipeline

Working = Callable[..., str]


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> Working:
    def of(url: str, dataset: str = "orgx") -> str:
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
        return str(make_pipeline("postgres", dataset).pipelines_dir)

    return of


@pytest.mark.parametrize(
    "other",
    [
        "postgresql://reader:secret@staging:5432/warehouse?host=/run/a",
        "postgresql://reader:secret@prod:5432/other?host=/run/a",
        "postgresql://reader:secret@prod:5432/warehouse?host=/run/b",
    ],
)
def test_another_database_has_another_working_directory(working: Working, other: str) -> None:
    assert working(other) != working("postgresql://reader:secret@prod:5432/warehouse?host=/run/a")


def test_a_new_password_changes_nothing(working: Working) -> None:
    before = working("postgresql://reader:secret@prod:5432/warehouse")
    assert working("postgresql://reader:rotated@prod:5432/warehouse") == before
    assert working("postgresql://reader:rotated@prod:5432/warehouse", "elsewhere") != before


@pytest.mark.parametrize(
    ("setting", "value"),
    [("DEV_MODE", "true"), ("REFRESH", "drop_sources"), ("PROGRESS", "log"), ("PIPELINES__ORGX__REFRESH", "drop_data")],
)
def test_no_setting_makes_a_run_begin_anew_elsewhere_or_talk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: str, value: str
) -> None:
    expected = make_pipeline(database="w.duckdb").dataset_name
    monkeypatch.setenv(setting, value)
    made = make_pipeline(database="w.duckdb")
    assert (made.dataset_name, made.refresh, made.dev_mode) == (expected, None, False)
    with made.collector("reading"):
        made.collector.update("rows", 1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_may_look_into_a_working_folder_not_even_into_an_older_one(umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = file_folder(Path("x.duckdb"), "orgx")
        assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]
        folder.chmod(0o755)
        assert make_pipeline(database="x.duckdb").pipelines_dir == str(folder)
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_an_untested_destination_is_refused_unless_somebody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"filesystem \(filesystem\) was never tested .* --untested"):
        make_pipeline("filesystem")
    monkeypatch.setenv("DESTINATION__LAKE__DESTINATION_TYPE", "filesystem")
    with pytest.raises(ConfigError, match=r"lake \(filesystem\) was never tested"):
        make_pipeline("lake")
    assert make_pipeline("filesystem", untested=True).dataset_name == "orgx"
    monkeypatch.setenv("ORGX_UNTESTED", "1")
    assert make_pipeline("filesystem").dataset_name == "orgx"
