"""`python -m tools.figures`: puts the rows of bench/results.json into docs/benchmarks.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tools.reference.markdown import code, table

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- figures -->\n", "<!-- end -->"
_VERDICTS = {"True": "yes", "False": "**no**"}
HEAD = ("what", "ours", "baseline", "unit", "goal", "holds", "command")


def figures(rows: Iterable[Mapping[str, Any]]) -> str:
    """The table; what failed or does not hold says so."""
    return table(HEAD, map(_row, rows))


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    command = code(f"python -m bench {row['module']}")
    if "error" in row:
        return code(row["name"]), "failed", "", "", "", "no", command
    words = [_words(row.get(key)) for key in ("ours", "baseline", "unit", "goal")]
    return code(row["name"]), *words, _VERDICTS.get(str(row.get("holds")), ""), command


def _words(value: object) -> str:
    return "" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)


def placed(text: str, made: str) -> str:
    """`text` with `made` between its marks.

    Raises:
        ValueError: the marks are not there, once each.
    """
    before, between, after = text.partition(BEGIN)
    _, end, rest = after.partition(END)
    if not between or not end:
        raise ValueError(f"the page has no {BEGIN.strip()} and {END}")
    return before + BEGIN + made + END + rest


def main() -> int:
    """Writes the page; 66 where nothing has been measured."""
    results, page = ROOT / "bench" / "results.json", ROOT / "docs" / "benchmarks.md"
    if not results.is_file():
        sys.stderr.write("bench/results.json is not there: run make bench\n")
        return 66
    page.write_text(
        placed(page.read_text(encoding="utf-8"), figures(json.loads(results.read_text()))), encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
