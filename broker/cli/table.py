"""Rows for people: a table on a terminal, lines with tabs elsewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Prints rows; `rich` honours NO_COLOR and the terminal's width."""
    if not sys.stdout.isatty():
        click.echo("\t".join(columns))
        for row in rows:
            click.echo("\t".join(_cell(row.get(name)) for name in columns))
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(header_style="bold", box=None)
    for name in columns:
        table.add_column(
            name.replace("_", " "), justify="right" if _is_numeric(row.get(name) for row in rows) else "left"
        )
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    Console().print(table)


def _is_numeric(values: Iterable[Any]) -> bool:
    """Whether a column holds numbers, which the API writes as texts."""
    return all(_NUMBER.fullmatch(str(value)) for value in values if value is not None)


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
