"""Reduces a failing sequence: removes steps and troubles one by one while it still fails in the same way.

    python -m tests.sequences.shrink FILE

The file has the output of a failure, or any text with its steps. The remaining steps are printed after each success.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.sequences import organisation, troubles
from tests.sequences.lives import a_life
from tests.sequences.machine import END, LieError

STEP = re.compile(r"^[E ]*(life\.\w+\(.*\))$")
WORDS = {**vars(organisation), **vars(troubles)}


def steps_in(text: str) -> list[str]:
    """Return the steps in a text, up to the end."""
    return [found[1] for line in text.partition(END)[0].splitlines() if (found := STEP.match(line))]


def replay(steps: Sequence[str]) -> LieError | None:
    """Run steps, and return the failure; None if there is none."""
    with a_life() as life:
        try:
            for step in steps:
                eval(step, {**WORDS, "life": life})
            life.end()
        except LieError as error:
            return error
    return None


def kind_of(error: LieError) -> str:
    """Return the kind of a failure: its message without the row concerned."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\(.*|\[.*|\{.*|[0-9]+", "", str(error).splitlines()[0])


def smaller(steps: Sequence[str]) -> Iterator[list[str]]:
    """Yield the steps without one of them, or without a part of one."""
    for number, step in enumerate(steps):
        yield [*steps[:number], *steps[number + 1 :]]
        call = ast.parse(step, mode="eval").body
        assert isinstance(call, ast.Call)
        if not isinstance(call.func, ast.Attribute) or call.func.attr == "wait":
            continue
        for left_out in range(len(call.args)):
            given = [ast.unparse(argument) for place, argument in enumerate(call.args) if place != left_out]
            if given or call.func.attr == "run":
                yield [*steps[:number], f"life.{call.func.attr}({', '.join(given)})", *steps[number + 1 :]]


def shrink(steps: list[str]) -> None:
    """Print ever shorter sequences that fail in the same way."""
    error = replay(steps)
    if error is None:
        sys.stdout.write("It does not fail.\n")
        return
    wanted = kind_of(error)
    while True:
        sys.stdout.write(f"{error}\n\n---\n")
        sys.stdout.flush()
        for fewer in smaller(steps):
            found = replay(fewer)
            if found is not None and kind_of(found) == wanted:
                steps, error = fewer, found
                break
        else:
            return


if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
        shrink(steps_in(text))
