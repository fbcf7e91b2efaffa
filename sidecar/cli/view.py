"""Views of the commands: tables on a terminal, plain lines with tabs elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sidecar.console import document as doc
from sidecar.console.document import JsonObject, StatusDocument, period
from sidecar.console.faults import Finding

ERROR, WARN = 17, 13
"""Severity numbers of OpenTelemetry's logs data model from which an event is an error or a warning.

https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
"""
# Signs beside the colours: about one man in twelve cannot tell red from green, and NO_COLOR takes them away.
MARKS = {"ok": "✓", "advice": "!", "fault": "✕", "": " "}
COLOURS = {"ok": "green", "advice": "yellow", "fault": "red", "": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Line of a view: its cells, and a mark for their state (`ok`, `advice`, `fault`, or nothing)."""

    mark: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Answer of a command for people: a title and rows; `well` decides the exit code."""

    well: bool
    title: str
    columns: tuple[str, ...]
    rows: Sequence[Row]
    cards: bool = False
    """True if rows are too long for lines of a table: their cells stand below each other."""


@contextmanager
def writer(*, live: bool = False) -> Iterator[Callable[[View], None]]:
    """Give a function that shows views: tables on a terminal (`live`: in place), lines with tabs elsewhere."""
    # Without rich's highlighting, which would colour numbers by its own taste beside our marks.
    console = Console(highlight=False)
    # A pipe gets tabs: `cut` and `awk` cannot read columns that are drawn with spaces and folded.
    if not console.is_terminal:
        yield lambda view: print("\n".join(plain_lines(view)), flush=True)
    elif live:
        with Live(console=console, screen=True, auto_refresh=False) as screen:
            yield lambda view: screen.update(_drawn(view), refresh=True)
    else:
        yield lambda view: console.print(_drawn(view))


def _drawn(view: View) -> RenderableType:
    # `Text` and never a plain `str`: rich would read markup such as [red] in a message that a producer sent.
    title = Text(view.title, style="bold green" if view.well else "bold red")
    if view.cards:
        return Group(title, *map(_card, view.rows))
    return Group(title, _table(view)) if view.rows else title


def _card(row: Row) -> RenderableType:
    """Draw a row as its first cell, the others below it, and the last as a command to copy."""
    head, *said, command = row.cells
    lines: list[RenderableType] = [Text(f"\n{MARKS[row.mark]} {head}", style=COLOURS[row.mark])]
    lines += [Padding(Text(cell), (0, 0, 0, 2)) for cell in said]
    return Group(*lines, Padding(Text(f"$ {command}", style="bold"), (0, 0, 0, 2)))


def plain_lines(view: View) -> Iterable[str]:
    """Write a view for a pipe: the title, then a line for each row, cells parted by tabs."""
    yield view.title
    for row in view.rows:
        yield "\t".join((row.mark or "-", *row.cells))


def _table(view: View) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in view.columns:
        table.add_column(name, overflow="fold")
    for row in view.rows:
        table.add_row(Text(MARKS[row.mark], style=COLOURS[row.mark]), *(Text(cell) for cell in row.cells))
    return table


_TITLES = {"healthy": "All is well", "degraded": "Degraded", "down": "Not ready"}


def status_view(status: StatusDocument) -> View:
    """Make the view of `sidecar status`: the verdict, the conditions that fail, the flow and its losses."""
    health, now = status.health, status.time
    rows = [_condition_row(item, now) for item in (health.why or health.conditions)]
    rows.extend(_producer_row(item) for item in status.producers)
    rows.append(_flow_row("events in", status.flow.in_, "held"))
    rows.append(_flow_row("log records out", status.flow.out, "queued"))
    title = f"{_TITLES[health.state]} for {_age(health.since, now)} (since {health.since})"
    return View(well=health.state != "down", title=title, columns=("what", "state", "for", "why"), rows=rows)


def _condition_row(item: doc.ConditionSection, now: str) -> Row:
    mark = "ok" if item.ok else "advice" if item.advisory else "fault"
    return Row(mark=mark, cells=(item.name, item.reason, _age(item.since, now), item.message))


def _age(since: str | None, now: str) -> str:
    if since is None:
        return ""
    return period((datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds())


def _producer_row(producer: doc.ProducerSection) -> Row:
    away = f"ended: {producer.goodbye}" if producer.goodbye else "away"
    mark, state = ("ok", "connected") if producer.connected else ("fault", away)
    age = producer.heartbeat_age_s
    heartbeat = "never heard" if age is None else f"heartbeat {age:.1f} s ago"
    secrets = f"secrets of generation {producer.applied_generation}"
    return Row(mark=mark, cells=(producer.producer_id, state, "", f"{heartbeat}, {secrets}"))


def _flow_row(name: str, side: doc.FlowSide, waiting: str) -> Row:
    reasons = ", ".join(f"{reason} {count}" for reason, count in side.lost_by.items())
    lost = f"{side.lost} lost" + (f" ({reasons})" if side.lost else "")
    cells = (name, f"{side.rate:.1f}/s", "", f"{side.backlog} {waiting}, {lost}")
    return Row(mark="fault" if side.lost else "", cells=cells)


def secrets_view(status: StatusDocument) -> View:
    """Make the view of `sidecar secrets`: the state of each secret, never its value."""
    secrets, token = status.secrets, status.secrets.token
    if not secrets.configured:
        return View(well=True, title="No secret is configured", columns=(), rows=())
    rows = [_secret_row(item) for item in secrets.secrets]
    mark = "ok" if token.state == "valid" else "fault"
    cells = ("token", token.method, token.state, _expiry(token), _error(token.last_error, token.state))
    rows.append(Row(mark=mark, cells=cells))
    rejection = secrets.rejection
    if rejection and rejection.generation == secrets.generation:
        said = f"{rejection.reason}: {rejection.message}"
        rows.append(
            Row(mark="fault", cells=(rejection.secret or "the set", rejection.producer_id, "refused", "", said))
        )
    title = f"Generation {secrets.generation or 'none'}, acknowledged {secrets.acknowledged or 'none'}"
    well = all(row.mark == "ok" for row in rows)
    return View(well=well, title=title, columns=("secret", "source", "state", "life", "remark"), rows=rows)


def _secret_row(secret: doc.SecretSection) -> Row:
    source = f"{secret.source} {secret.version}".strip()
    remark = _error(secret.last_error, secret.state)
    if not remark and secret.next_step and secret.next_in_s is not None:
        remark = f"{secret.next_step} in {period(secret.next_in_s)}"
    mark = "ok" if secret.state == "fresh" else "fault"
    return Row(mark=mark, cells=(secret.name, source, secret.state, _expiry(secret), remark))


def _expiry(item: doc.SecretSection | doc.TokenSection) -> str:
    left = item.expires_in_s
    return "does not expire" if left is None else f"{period(left)} left"


def _error(error: doc.ErrorSection | None, state: str) -> str:
    return f"{error.name}: {error.message}" if error and state not in {"fresh", "valid"} else ""


def findings_view(findings: Sequence[Finding]) -> View:
    """Make the view of `sidecar doctor`: each fault with its evidence, the remedy and the next command."""
    rows = [Row(mark="fault", cells=(item.fault, item.evidence, item.next, item.command)) for item in findings]
    title = f"{len(findings)} fault{'s' if len(findings) != 1 else ''}" if findings else "No fault found"
    return View(well=not findings, title=title, columns=("fault", "evidence", "next", "command"), rows=rows, cards=True)


def event_line(event: JsonObject) -> str:
    """Write an event on one line, numbers to six digits; `--json` has all of them."""
    values = " ".join(f"{key}={_number(value)}" for key, value in event["attributes"].items())
    return f"{event['time']} {event['producer']} {event['name']} {values}".rstrip()


def _number(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def event_text(event: JsonObject) -> Text:
    """Write an event for a terminal, without its date; the names of errors and warnings are coloured."""
    severity = event.get("severity", 0)
    style = "bold red" if severity >= ERROR else "bold yellow" if severity >= WARN else "bold"
    values = [Text.assemble((f"{key}=", "dim"), str(_number(value))) for key, value in event["attributes"].items()]
    dim = [Text(event["time"][11:23], style="dim"), Text(event["producer"], style="dim")]
    return Text(" ").join([*dim, Text(event["name"], style=style), *values])


def event_writer() -> Callable[[JsonObject], None]:
    """Return a function that shows events: coloured on a terminal, plain lines elsewhere."""
    console = Console(highlight=False)
    if not console.is_terminal:
        return lambda event: print(event_line(event), flush=True)
    return lambda event: console.print(event_text(event), soft_wrap=True)
