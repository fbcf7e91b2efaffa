"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def made(source: str) -> str:
    """Write the line of a generated page that names its source."""
    return f"Made from {source} by `python -m tools.reference`; `make check` fails where it differs.\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; a bar in a cell is escaped."""
    lines = [_row(head), "|" + "---|" * len(head), *(_row([cell.replace("|", "\\|") for cell in row]) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |"


def code(text: str) -> str:
    """Mark `text` as code; an empty text stays empty."""
    return f"`{text}`" if text else ""
