from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from producer.declare import Catalogue, Counter, Event, Histogram, Label, Log, Measure
from producer.emitter import Emitter
from producer.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb

START_NS = 1_700_000_000_000_000_000


class Sale(NamedTuple):
    """Somebody bought."""

    shop: Label[str]
    price: Measure[float]
    number: int
    paid: bool
    note: str | None
    discount: Measure[float | None]


class Chatter(NamedTuple):
    """Somebody talked."""

    text: str


SALE = Event(
    Sale,
    "shop.sale",
    instruments=(
        Counter("shop.sales", description="Sales."),
        Histogram("shop.price", description="Prices.", measure="price", buckets=(1.0, 10.0)),
    ),
    log=Log(pb.SEVERITY_INFO, "Sold"),
    reserved=True,
)
CHATTER = Event(Chatter, "shop.chatter")
SHOP = Catalogue((SALE, CHATTER))


def sale(number: int = 1, **changes: Any) -> Sale:
    return Sale("north", 2.5, number, True, None, None)._replace(**changes)


def settings(place: Path, **changes: Any) -> TelemetrySettings:
    chosen: dict[str, Any] = {"spool_directory": place / "spool", "socket": place / "run" / "t.sock"}
    return TelemetrySettings(**{**chosen, **changes})


def emitter(place: Path, *, session_id: str = "s1", **changes: Any) -> Emitter:
    return Emitter(settings(place, **changes), catalogue=SHOP, clock=lambda: START_NS, session_id=session_id)


def numbers(made: Emitter, after: int = 0) -> list[int]:
    """The third field of each row that is held, or the first of a shorter row."""
    found: list[int] = []
    while rows := made.spool.after(after, 100).rows:
        found += [row[5] if len(row) > 5 else row[3] for row in rows]
        after += len(rows)
    return found
