from __future__ import annotations

from typing import Any

import pytest

from tools.figures import figures, placed


def test_a_row_names_its_command_and_whether_it_holds() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "emit_cost", "module": "emit", "ours": 1.4, "baseline": 6.0, "unit": "µs", "goal": 3, "holds": True},
        {"name": "slow", "module": "scrape", "ours": 9, "baseline": None, "unit": "ms", "goal": 5, "holds": False},
        {"name": "orders", "module": "orders", "holds": None, "error": "no output"},
    ]  # fmt: skip
    assert figures(rows).splitlines()[2:] == [
        "| `emit_cost` | 1.4 | 6 | µs | 3 | yes | `python -m bench emit` |",
        "| `slow` | 9 |  | ms | 5 | **no** | `python -m bench scrape` |",
        "| `orders` | failed |  |  |  | no | `python -m bench orders` |",
    ]


def test_the_table_goes_between_the_marks() -> None:
    assert (
        placed("a\n<!-- figures -->\nold\n<!-- end -->\nb\n", "new\n") == "a\n<!-- figures -->\nnew\n<!-- end -->\nb\n"
    )


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="figures"):
        placed("a", "new")
