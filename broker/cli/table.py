"""Rows as a table on a terminal, and as lines with tabs elsewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

_NUMBER = re.compile(r"-?\d+(\.\d+)?")


Rows = Sequence[Mapping[str, Any]]
Write = Callable[[Rows, Sequence[str], str], None]
"""Print rows by their columns, or the text if there are no rows."""


@contextmanager
def table_writer(*, live: bool = False) -> Iterator[Write]:
    """A function that prints rows; `live`: on a terminal each table takes the place of the one before."""
    if not sys.stdout.isatty():
        yield _print_lines
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.live import Live  # noqa: PLC0415 - as above

    console = Console()  # honours NO_COLOR and the width of the terminal
    if not live:
        yield lambda rows, columns, none: console.print(_table(rows, columns, none))
        return
    with Live(console=console, screen=True, auto_refresh=False) as screen:
        yield lambda rows, columns, none: screen.update(_table(rows, columns, none), refresh=True)


def _print_lines(rows: Rows, columns: Sequence[str], none: str) -> None:
    if not rows:
        click.echo(none)
        return
    click.echo("\t".join(columns))
    for row in rows:
        click.echo("\t".join(_cell(row.get(name)) for name in columns))


def _table(rows: Rows, columns: Sequence[str], none: str) -> Any:
    from rich.table import Table  # noqa: PLC0415 - only a terminal needs it

    if not rows:
        return none
    table = Table(header_style="bold", box=None)
    for name in columns:
        numeric = _is_numeric(row.get(name) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    return table


def _is_numeric(values: Iterable[Any]) -> bool:
    # The API writes numbers as texts.
    return all(_NUMBER.fullmatch(str(value)) for value in values if value is not None)


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
