"""The life of an order as a picture (SVG), drawn from THE table: a page shows it without another host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from broker.domain import OrderStatus as S
from broker.orders.model.lifecycle import OrderEvent

Table = Mapping[tuple[S, OrderEvent], S]
WIDTH, HEIGHT = 1020, 680
BOX_WIDTH, BOX_HEIGHT = 168, 52
LEFT, MIDDLE, RIGHT = 24, 366, 708
PLACES: Mapping[S, tuple[int, int]] = {
    S.RECEIVED: (LEFT, 40),
    S.SUBMITTED: (LEFT, 150),
    S.UNKNOWN: (LEFT, 280),
    S.PRESUMED_ABSENT: (LEFT, 400),
    S.PENDING: (MIDDLE, 570),
    S.DENIED: (RIGHT, 40),
    S.REJECTED: (RIGHT, 160),
    S.CANCELLED: (RIGHT, 280),
    S.PARTIALLY_FILLED: (RIGHT, 400),
    S.FILLED: (RIGHT, 540),
}
"""Upper left corner of the box of a status."""
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t d"\
 font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="14">
  <!-- Drawn from the table in broker/orders/model/lifecycle.py by `python -m tools.reference.order_life_cycle`. -->
  <title id="t">The life of an order</title>
  <desc id="d">{words}</desc>
  <style>
    .page {{ fill: #ffffff }} .box {{ fill: #e7eefc; stroke: #2f5fd0; stroke-width: 2 }}
    .final {{ fill: #f5f7fb; stroke: #3a4356; stroke-width: 2 }} .name {{ font-weight: 700; fill: #1b1f27 }}
    .move {{ fill: none; stroke: #8b97ad; stroke-width: 1.8; marker-end: url(#tip) }}
    .unknown {{ stroke: #b7791f }} .presumed_absent {{ stroke: #c0392b }} .submitted {{ stroke: #2f5fd0 }}
    .event {{ fill: #3a4356; font-size: 13px; paint-order: stroke; stroke: #ffffff; stroke-width: 4px }}
  </style>
  <defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0 10 5 0 10z" fill="context-stroke"/></marker></defs>
  <rect class="page" width="{width}" height="{height}" rx="12"/>
"""


class Port(NamedTuple):
    """Point at which the moves of one event enter a status."""

    x: int
    y: int


def drawing(table: Table) -> str:
    """The picture.

    Raises:
        KeyError: a status of the table has no place.
    """
    words = " ".join(f"From {start} {event} leads to {end}." for (start, event), end in table.items())
    parts = [HEAD.format(width=WIDTH, height=HEIGHT, words=words)]
    parts += [_box(status, *PLACES[status]) for status in dict.fromkeys(_statuses(table))]
    parts += _within_the_column(table)
    parts += _across(table)
    parts += _loops(table)
    return "".join(f"{part.rstrip()}\n" for part in parts) + "</svg>\n"


def _statuses(table: Table) -> Iterator[S]:
    for (start, _), end in table.items():
        yield from (start, end)


def _box(status: S, x: int, y: int) -> str:
    kind = "final" if status.is_final else "box"
    across, down = x + BOX_WIDTH // 2, y + BOX_HEIGHT // 2 + 5
    return (
        f'  <rect class="{kind}" x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="9"/>'
        f'<text class="name" x="{across}" y="{down}" text-anchor="middle">{status}</text>'
    )


def _within_the_column(table: Table) -> Iterator[str]:
    """Straight down to the box below, or round the boxes between: one line for all events of two statuses."""
    for (start, end), events in _between(table).items():
        (x, above), (column, below) = PLACES[start], PLACES[end]
        if x != column or start == end:
            continue
        text = ", ".join(map(_words, events))
        if any(place[0] == x and above < place[1] < below for place in PLACES.values()):
            edge, far, high, low = x + BOX_WIDTH, x + BOX_WIDTH + 160, above + BOX_HEIGHT // 2, below + 8
            yield f'  <path class="move {start}" d="M{edge} {high} C{far} {high} {far} {low} {edge + 2} {low}"/>'
            yield f'  <text class="event" x="{edge + 60}" y="{high + 6}">{text}</text>'
            continue
        middle, top = x + BOX_WIDTH // 2, above + BOX_HEIGHT
        yield f'  <path class="move {start}" d="M{middle} {top} V{below - 2}"/>'
        yield f'  <text class="event" x="{middle + 10}" y="{(top + below) // 2 + 5}">{text}</text>'


def _between(table: Table) -> dict[tuple[S, S], list[OrderEvent]]:
    found: dict[tuple[S, S], list[OrderEvent]] = {}
    for (start, event), end in table.items():
        found.setdefault((start, end), []).append(event)
    return found


def _across(table: Table) -> Iterator[str]:
    """To a column on the right: what one event leads to a status comes in at one port, which names it."""
    ports = _ports(table)
    for (start, event), end in table.items():
        if (port := ports.get((end, event))) is not None and PLACES[start][0] != PLACES[end][0]:
            x, y = PLACES[start][0] + BOX_WIDTH, PLACES[start][1] + BOX_HEIGHT // 2
            half = (x + port.x) // 2
            curve = f"M{x} {y} C{half} {y} {half - 40} {port.y} {port.x - 2} {port.y}"
            yield f'  <path class="move {start}" d="{curve}"/>'
    for (_, event), port in ports.items():
        yield f'  <text class="event" x="{port.x - 16}" y="{port.y - 6}" text-anchor="end">{_words(event)}</text>'


def _ports(table: Table) -> dict[tuple[S, OrderEvent], Port]:
    entering: dict[S, list[OrderEvent]] = {}
    for (start, event), end in table.items():
        if PLACES[start][0] != PLACES[end][0] and event not in entering.setdefault(end, []):
            entering[end].append(event)
    return {
        (status, event): Port(PLACES[status][0], PLACES[status][1] + BOX_HEIGHT * (number + 1) // (len(events) + 1))
        for status, events in entering.items()
        for number, event in enumerate(events)
    }


def _loops(table: Table) -> Iterator[str]:
    for (start, end), events in _between(table).items():
        if start != end:
            continue
        x, y = PLACES[start]
        right, below = x + BOX_WIDTH, y + BOX_HEIGHT
        # On the right where nothing leaves the box.
        if start.is_final:
            yield f'  <path class="move" d="M{right} {y + 20} c30 -2 30 28 2 22"/>'
            places = [(right + 28, y + 36 + 16 * number, "start") for number in range(len(events))]
        else:
            yield f'  <path class="move" d="M{right - 60} {below} c0 40 40 40 40 2"/>'
            places = [(right - 40, below + 46 + 16 * number, "middle") for number in range(len(events))]
        for event, (across, down, anchor) in zip(events, places, strict=True):
            yield f'  <text class="event" x="{across}" y="{down}" text-anchor="{anchor}">{_words(event)}</text>'


def _words(event: OrderEvent) -> str:
    return str(event).replace("_", " ")
