"""Every guard that the source marks can be taken out, and has a test that is to notice."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from tests.guards import GUARDS, PACKAGE, ROOT, choose, find_marks, take_out

MARKS = list(find_marks())


def test_every_mark_has_its_removal_and_every_removal_its_mark() -> None:
    assert Counter(name for name, _ in MARKS) == Counter(GUARDS.keys())


@pytest.mark.parametrize(("name", "place"), MARKS, ids=[name for name, _ in MARKS])
def test_a_guard_can_be_taken_out_and_its_test_exists(name: str, place: object) -> None:
    place = dict(MARKS)[name]
    for removal in GUARDS[name]:
        changed = take_out(place, removal)
        assert changed != place.file.read_text()
        if place.file.suffix == ".py":
            # Code that does not compile would be noticed by any test.
            ast.parse(changed)
        assert (ROOT / removal.test.partition("::")[0]).exists()
    assert place.file.is_relative_to(PACKAGE)


def test_a_sample_comes_round_to_every_guard() -> None:
    assert set(choose([])) == GUARDS.keys()
    assert len(choose(["--sample", "3"])) == 3
    assert choose(["cursor-behind"]) == ["cursor-behind-the-start"]
