"""Draws the life of an order for docs/orders.md: `python -m tools.reference.order_life_cycle [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

from broker.orders.model.lifecycle import TABLE
from tools.reference.order_life_cycle_drawing import drawing

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "order-life-cycle.svg"


def main(arguments: list[str]) -> int:
    """0, or 1 where `--check` finds another picture than the table's."""
    fresh = drawing(TABLE)
    if arguments == ["--check"]:
        return int(not PICTURE.is_file() or PICTURE.read_text(encoding="utf-8") != fresh)
    PICTURE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
