"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def made(source: str) -> str:
    """What a generated page says of itself."""
    return f"Made from {source} by `python -m tools.reference`; `make check` fails where it differs.\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar in a cell is escaped."""
    lines = [
        _row(head),
        "|" + "---|" * len(head),
        *(_row([cell.replace("|", "\\|") for cell in row]) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |"


def code(text: str) -> str:
    """`text` as code; nothing where there is none."""
    return f"`{text}`" if text else ""
