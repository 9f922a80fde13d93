"""What tests share: a directory of their own, settings that are nobody's, and a clock that does not wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Each worker builds its table of characters anew; examples are not kept, because tests run in directories of their own.
settings.register_profile("orgx", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("orgx")


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty directory: no settings of the checkout or the machine, nothing left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("ORGX_API_KEY", "ORGX_BASE_URL", "SOURCES__ORGX__API_KEY", "SOURCES__ORGX__BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    yield
