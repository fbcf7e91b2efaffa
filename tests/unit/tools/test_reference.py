from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.reference import conditions, exit_codes
from tools.reference.__main__ import PAGES, stale, write
from tools.reference.markdown import table


def test_a_page_that_differs_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "api.md").write_text("old")
    assert stale(tmp_path) == ["api.md"]


def test_a_page_that_is_missing_is_named(tmp_path: Path) -> None:
    assert stale(tmp_path) == list(PAGES)


def test_a_condition_without_a_meaning_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(conditions.BROKER, "Journal")
    with pytest.raises(conditions.UnexplainedError, match="Journal"):
        conditions.page()


def test_conditions_and_their_reasons_are_spelt_alike_in_both_processes() -> None:
    texts = [name for reasons in conditions.COMPUTED_REASONS.values() for name in reasons]
    for name in [*conditions.BROKER, *conditions.SIDECAR, *texts]:
        assert re.fullmatch("([A-Z][a-z0-9]+)+", name), name


def test_an_exit_code_without_a_meaning_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(exit_codes.MEANINGS, "EX_CONFIG")
    with pytest.raises(exit_codes.UnexplainedError, match="EX_CONFIG"):
        exit_codes.page()


def test_a_bar_in_a_cell_is_escaped() -> None:
    assert table(("a",), [("x | y",)]) == "| a |\n|---|\n| x \\| y |\n"
