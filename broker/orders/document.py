"""`python -m broker.orders.document` draws the life of an order into docs/orders.md; `--check` fails on drift."""

from __future__ import annotations

import sys
from pathlib import Path

from broker.orders.lifecycle import diagram

PAGE = Path(__file__).parents[2] / "docs" / "orders.md"
BEGIN, END = "<!-- life-cycle: generated -->\n", "<!-- end -->\n"


def drawn(page: str) -> str:
    """The page with the diagram as the table has it now.

    Raises:
        ValueError: the page has lost its marks.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/orders.md needs the marks {BEGIN.strip()} and {END.strip()}")
    return f"{head}{BEGIN}```mermaid\n{diagram()}```\n{END}{tail}"


def main(arguments: list[str]) -> int:
    """0, or 1 where `--check` finds another picture than the table's."""
    page = PAGE.read_text(encoding="utf-8")
    fresh = drawn(page)
    if arguments == ["--check"]:
        return int(fresh != page)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
