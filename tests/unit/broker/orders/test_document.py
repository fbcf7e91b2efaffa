from __future__ import annotations

import pytest

from broker.orders.document import PAGE, drawn


def test_picture_in_the_documentation_is_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert drawn(page) == page


def test_another_picture_is_drift() -> None:
    page = PAGE.read_text(encoding="utf-8").replace("received --> denied", "received --> filled")
    assert drawn(page) != page


def test_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the marks"):
        drawn("# Orders\n")
