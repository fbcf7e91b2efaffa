"""How commands show what they were told: tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sidecar.console.cli.period import period
from sidecar.console.doctor.finding import Finding

Document = dict[str, Any]
ERROR, WARN = 17, 13
"""Severity numbers of OpenTelemetry's logs data model, from which an event is an error or a warning."""
MARKS = {"ok": "✓", "advice": "!", "fault": "✕", "": " "}
COLOURS = {"ok": "green", "advice": "yellow", "fault": "red", "": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: what it says of a thing, and how well that is (`ok`, `advice`, `fault`, or nothing)."""

    mark: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a command shows: as a document, and as titled rows for people."""

    well: bool
    title: str
    columns: tuple[str, ...]
    rows: Sequence[Row]
    document: Any = None
    cards: bool = False
    """Whether a row has too much to say for a line of a table: its cells stand below each other."""


@contextmanager
def writer(*, live: bool = False) -> Iterator[Callable[[View], None]]:
    """Shows views: tables on a terminal (`live`: one that changes in place), lines with tabs elsewhere."""
    console = Console(highlight=False)
    if not console.is_terminal:
        yield lambda view: print("\n".join(plain_lines(view)), flush=True)
    elif live:
        with Live(console=console, screen=True, auto_refresh=False) as screen:
            yield lambda view: screen.update(_drawn(view), refresh=True)
    else:
        yield lambda view: console.print(_drawn(view))


def _drawn(view: View) -> RenderableType:
    title = Text(view.title, style="bold green" if view.well else "bold red")
    if view.cards:
        return Group(title, *map(_card, view.rows))
    return Group(title, _table(view)) if view.rows else title


def _card(row: Row) -> RenderableType:
    """The first cell as a head, the others below it, the last as a command to copy."""
    head, *said, command = row.cells
    lines: list[RenderableType] = [Text(f"\n{MARKS[row.mark]} {head}", style=COLOURS[row.mark])]
    lines += [Padding(Text(cell), (0, 0, 0, 2)) for cell in said]
    return Group(*lines, Padding(Text(f"$ {command}", style="bold"), (0, 0, 0, 2)))


def plain_lines(view: View) -> Iterable[str]:
    """The view for a pipe: the title, then a line each row, cells parted by tabs."""
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


_TITLES = {"healthy": "All is well", "degraded": "Works, with a flaw", "down": "Not ready"}


def status_view(status: Document) -> View:
    """`sidecar status`: the verdict, the conditions that fail, the flow and its ledger."""
    health, flow = status["health"], status["flow"]
    rows = [_condition_row(item, status["time"]) for item in (health["why"] or health["conditions"])]
    rows.extend(_producer_row(item) for item in status["producers"])
    rows.append(_flow_row("events in", flow["in"], "held"))
    rows.append(_flow_row("log records out", flow["out"], "queued"))
    title = f"{_TITLES[health['state']]} for {_age(health['since'], status['time'])} (since {health['since']})"
    well = health["state"] != "down"
    return View(well=well, title=title, columns=("what", "state", "for", "why"), rows=rows, document=status)


def _condition_row(item: Document, now: str) -> Row:
    mark = "ok" if item["ok"] else "advice" if item["advisory"] else "fault"
    return Row(mark=mark, cells=(item["name"], item["reason"], _age(item["since"], now), item["message"]))


def _age(since: str | None, now: str) -> str:
    if since is None:
        return ""
    return period((datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds())


def _producer_row(producer: Document) -> Row:
    state = (
        "connected" if producer["connected"] else f"ended: {producer['goodbye']}" if producer["goodbye"] else "away"
    )
    age = producer["heartbeat_age_s"]
    heartbeat = "never heard" if age is None else f"heartbeat {age:.1f} s ago"
    secrets = f"secrets of generation {producer['applied_generation']}"
    return Row(
        mark="ok" if producer["connected"] else "fault", cells=(producer["id"], state, "", f"{heartbeat}, {secrets}")
    )


def _flow_row(name: str, side: Document, backlog: str) -> Row:
    lost = f"{side['lost']} lost" + (f" ({_counts(side['lost_by'])})" if side["lost"] else "")
    return Row(
        mark="fault" if side["lost"] else "",
        cells=(name, f"{side['rate']:.1f}/s", "", f"{side['backlog']} {backlog}, {lost}"),
    )


def secrets_view(status: Document) -> View:
    """`sidecar secrets`: each secret's way, never its value."""
    secrets = status["secrets"]
    if not secrets["configured"]:
        return View(well=True, title="No secret is configured", columns=(), rows=(), document=secrets)
    token = secrets["token"]
    rows = [_secret_row(item) for item in secrets["secrets"]]
    rows.append(
        Row(
            mark="ok" if token["state"] == "valid" else "fault",
            cells=("token", token["method"], token["state"], _expiry(token), _said(token)),
        )
    )
    rejection = secrets["rejection"]
    if rejection and rejection["generation"] == secrets["generation"]:
        said = f"{rejection['reason']}: {rejection['message']}"
        rows.append(
            Row(mark="fault", cells=(rejection["secret"] or "the set", rejection["producer"], "refused", "", said))
        )
    title = f"Generation {secrets['generation'] or 'none'}, acknowledged {secrets['acknowledged'] or 'none'}"
    well = all(row.mark == "ok" for row in rows)
    return View(
        well=well, title=title, columns=("secret", "source", "state", "life", "remark"), rows=rows, document=secrets
    )


def _secret_row(secret: Document) -> Row:
    source = f"{secret['source']} {secret['version']}".strip()
    mark = "ok" if secret["state"] == "fresh" else "fault"
    return Row(mark=mark, cells=(secret["name"], source, secret["state"], _expiry(secret), _said(secret)))


def _expiry(item: Document) -> str:
    left = item["expires_in_s"]
    return "does not expire" if left is None else f"{period(left)} left"


def _said(item: Document) -> str:
    if item["mishap"] and item["state"] not in {"fresh", "valid"}:
        return f"{item['mishap']['name']}: {item['mishap']['message']}"
    step = item.get("next_step")
    return f"{step} in {period(item['next_in_s'])}" if step and item.get("next_in_s") is not None else ""


def findings_view(findings: Sequence[Finding]) -> View:
    """`sidecar doctor`: each fault with its evidence and the next command."""
    rows = [Row(mark="fault", cells=(item.fault, item.evidence, item.next, item.command)) for item in findings]
    title = f"{len(findings)} fault{'s' if len(findings) != 1 else ''}" if findings else "No fault found"
    return View(
        well=not findings, title=title, columns=("fault", "evidence", "next", "command"), rows=rows, cards=True
    )


def event_line(event: Document) -> str:
    """One event on one line, numbers to six digits; `--json` has all of them."""
    values = " ".join(f"{key}={_number(value)}" for key, value in event["attributes"].items())
    return f"{event['time']} {event['producer']} {event['name']} {values}".rstrip()


def _number(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def event_text(event: Document) -> Text:
    """The same for a terminal: what to look for stands out, faults most."""
    severity = event.get("severity", 0)
    name = Text(
        event["name"], style="bold red" if severity >= ERROR else "bold yellow" if severity >= WARN else "bold"
    )
    values = [Text.assemble((f"{key}=", "dim"), str(_number(value))) for key, value in event["attributes"].items()]
    return Text(" ").join(
        [Text(event["time"][11:23], style="dim"), Text(event["producer"], style="dim"), name, *values]
    )


def event_writer() -> Callable[[Document], None]:
    """Shows events: coloured on a terminal, plain lines elsewhere."""
    console = Console(highlight=False)
    if not console.is_terminal:
        return lambda event: print(event_line(event), flush=True)
    return lambda event: console.print(event_text(event), soft_wrap=True)


def _counts(table: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in table.items())
