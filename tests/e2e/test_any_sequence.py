"""Whatever happens between and during runs, no run claims what is not so, and two quiet ones bring the truth.

What can happen is in `tests/sequences/troubles.py`, kind by kind; what a run claims in `tests/sequences/machine.py`::

    ORGX_SEQUENCES=300 ORGX_KINDS="lag,analyst" ORGX_SEED=1 pytest tests/e2e/test_any_sequence.py

A failure prints its steps, which `tests/sequences/shrink.py` makes fewer, and the seed of the ten sequences it is of.
"""

from __future__ import annotations

import os
import random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.running import on_postgres
from tests.sequences.lives import a_life
from tests.sequences.organisation import Change
from tests.sequences.troubles import Trouble, any_change, any_troubles

# A run that is killed within this process leaves open what dlt was writing.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# `make search` tries 300; each is half a dozen runs.
SEQUENCES = int(os.environ.get("ORGX_SEQUENCES", "4"))
NIGHTS = 5
AT_ONCE = 10
FIRST_SEED = int(os.environ.get("ORGX_SEED", 0 if "CI" in os.environ else random.randrange(10**6)))


class AnySequence(RuleBasedStateMachine):
    """One instance is one sequence."""

    files = True

    def __init__(self) -> None:
        super().__init__()
        self._scope = a_life()
        self.life = self._scope.__enter__()
        self.failed = False

    @initialize(first=st.booleans())
    def begin(self, first: bool) -> None:
        if first:
            self._step(self.life.run)

    @rule(
        steps=st.lists(st.deferred(any_change), max_size=6), hours=st.sampled_from([0, 0.2, 3, 26, 200]), data=st.data()
    )
    def night(self, steps: list[Change], hours: float, data: Any) -> None:
        troubles: list[Trouble] = data.draw(any_troubles(files=self.files))
        if steps:
            self.life.change(*steps)
        if hours:
            self.life.wait(hours)
        self._step(self.life.run, *troubles)

    def _step(self, step: Any, *given: Any) -> None:
        try:
            step(*given)
        except BaseException:
            self.failed = True
            raise

    def teardown(self) -> None:
        try:
            # Otherwise what follows would hide it.
            if not self.failed:
                self.life.end()
        finally:
            self._scope.__exit__(None, None, None)


class OnPostgres(AnySequence):
    """Without what needs a file."""

    files = False


def search(machine: type[AnySequence], number: int, sequences: int) -> None:
    """Try some sequences; the same number tries the same ones."""
    chosen = FIRST_SEED + number
    try:
        run_state_machine_as_test(
            seed(chosen)(machine),
            settings=settings(
                max_examples=sequences,
                stateful_step_count=NIGHTS,
                deadline=None,
                database=None,
                # Making a sequence smaller means hundreds of them again; five nights are short enough to read.
                phases=[Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except BaseException as error:
        error.add_note(f"ORGX_SEED={chosen} ORGX_SEQUENCES={sequences}")
        raise


@pytest.mark.parametrize("number", range(-(-SEQUENCES // AT_ONCE)))
def test_any_sequence_ends_in_the_truth(number: int) -> None:
    search(AnySequence, number, min(AT_ONCE, SEQUENCES - number * AT_ONCE))


def test_any_sequence_ends_in_the_truth_on_postgres(postgres_server: Any) -> None:
    with on_postgres(postgres_server):
        search(OnPostgres, 0, max(1, SEQUENCES // 5))
