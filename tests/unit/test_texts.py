"""What others wrote is shown, and does nothing to a terminal."""

from __future__ import annotations

import io
import json
import logging
import unicodedata

import pytest

from orgx_source.api.listing import ListingReport
from orgx_source.cli import _set_up_logging, console
from orgx_source.errors import ApiError, BudgetError, OrgxError
from orgx_source.explain import explain, without_secrets
from orgx_source.texts import visible, visible_json

EVIL = "a\x1b]0;b\x07\x9b2J\x7f\u202ec\u2066\u2028d\rE\x00\ud83d"
SHOWN = r"a\x1b]0;b\x07\x9b2J\x7f\u202ec\u2066\u2028d\rE\x00\ud83d"


def test_control_characters_are_written_out_and_nothing_else_changes() -> None:
    assert visible(EVIL) == SHOWN
    assert visible(SHOWN) == SHOWN
    assert visible("a\n\tb") == r"a\n\tb"
    assert visible("a\n\tb", keep_lines=True) == "a\n\tb"
    plain = "Grüße, 你好, \U0001f469\u200d\U0001f680 שלום [red]\\x1b"
    assert visible(plain) == plain
    unsafe = [chr(c) for c in range(0x3000) if unicodedata.category(chr(c)) in ("Cc", "Zl", "Zp")]
    assert [c for c in unsafe if visible(c) == c] == []
    assert [c for c in map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]) if visible(c) == c] == []


def test_json_keeps_its_values_and_holds_no_control_characters() -> None:
    written = visible_json(json.dumps({EVIL: [EVIL, "ü"]}, indent=2, ensure_ascii=False))
    assert json.loads(written) == {EVIL: [EVIL, "ü"]}
    assert visible(written, keep_lines=True) == written
    assert "ü" in written


def test_an_error_and_a_reason_are_one_line_that_can_be_shown() -> None:
    report = ListingReport()
    report.miss(f"row {EVIL}")
    assert report.reasons == [f"row {SHOWN}"]
    for error in (
        OrgxError(f"bad {EVIL}\n  and more"),
        ApiError(f"bad {EVIL}\n  and more", status=500, path="/x"),
        BudgetError(f"bad {EVIL}\r\nand more"),
        explain(RuntimeError(f"bad {EVIL}\n  and more")),
    ):
        assert visible(str(error)) == str(error)
        assert "and more" in str(error) and SHOWN[:20] in str(error)


def test_nothing_that_is_printed_reaches_the_terminal_as_a_command() -> None:
    stream = io.StringIO()
    printed = console._console(stderr=False)
    printed.file = stream
    printed.width = 400
    grid = console._grid(("table", "left"))
    grid.add_row(EVIL.replace("\ud83d", ""))
    printed.print(grid)
    printed.print(EVIL.replace("\ud83d", ""), markup=False)
    printed.print(console.Text("one\ntwo" + EVIL, "red"))
    shown = stream.getvalue()
    assert visible(shown, keep_lines=True) == shown
    assert r"one\ntwo" + SHOWN in shown
    assert shown.count(r"a\x1b]0;") == 3


def test_a_line_of_the_log_is_one_line_and_the_stack_below_it_keeps_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    _set_up_logging(True)
    try:
        try:
            raise ValueError(EVIL)
        except ValueError:
            logging.getLogger("orgx_source.x").info("row %s\nforged", EVIL, exc_info=True)
        told = capsys.readouterr().err
    finally:
        logging.getLogger("orgx_source").handlers.clear()
        _set_up_logging(False)
        logging.getLogger("dlt").disabled = False
    assert visible(told, keep_lines=True) == told
    assert f"INFO row {SHOWN}\\nforged\nTraceback" in told


@pytest.mark.parametrize(
    "key",
    ["oxk_0123-4567-89ab", "xoxk_0123456789", "oxk%5F01234567", r"\u006fxk_01234567", r"\\u006f\u0078k_01\u0032345"],
)
def test_a_key_is_masked_whole_in_whatever_is_logged(key: str) -> None:
    shown = without_secrets(f"before {key} after")
    assert "oxk_***" in shown and shown.endswith("*** after") and shown.startswith("before ")
