"""What a run leaves on this machine belongs to one destination, one database and one dataset."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orgx_source.warehouse.pipeline import make_pipeline

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
