"""Every guard in the list of guards is still where the list says."""

from __future__ import annotations

from pathlib import Path

import pytest

import orgx_source
from tests.guards import GUARDS, ROOT, Guard

PACKAGE = Path(orgx_source.__file__).parent


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_stands_once_and_its_test_exists(guard: Guard) -> None:
    assert (PACKAGE / guard.file).read_text().count(guard.code) == 1
    assert (ROOT / guard.test.partition("::")[0]).exists()
