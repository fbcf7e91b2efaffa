from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from pod_runtime.files.framing import HEADER_BYTES
from producer.declare import Catalogue, Counter, Event, Histogram, Label, Log, Measure
from producer.emitter import Emitter
from producer.health import EmitterLedger
from producer.settings import ProducerSettings
from producer.spool.format import Row, read_checked_rows
from telemetry_contract.v1 import telemetry_pb2 as pb

START_NS = 1_700_000_000_000_000_000
SMALL: dict[str, Any] = {"segment_bytes": 1 << 16, "spool_bytes": 1 << 20, "memory_bytes": 1 << 20}
"""Settings of a spool that a thousand long events fill."""
LONG = "x" * 1000


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


class Visit(NamedTuple):
    """Somebody came in."""

    door: str


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
VISIT = Event(Visit, "shop.visit")
"""Not in the catalogue: declared while the program runs."""
SHOP = Catalogue((SALE, CHATTER))


def sale(number: int = 1, **changes: Any) -> Sale:
    return Sale("north", 2.5, number, True, None, None)._replace(**changes)


def settings(place: Path, **changes: Any) -> ProducerSettings:
    chosen: dict[str, Any] = {
        "producer_id": "broker",
        "spool_directory": place / "spool",
        "socket": place / "run" / "t.sock",
    }
    return ProducerSettings(**{**chosen, **changes})


def emitter(place: Path, *, session_id: str = "s1", **changes: Any) -> Emitter:
    return Emitter(
        settings(place, **changes),
        catalogue=SHOP,
        clock=lambda: START_NS,
        session_id=session_id,
        constant_labels={"broker": "oanda"},
    )


def unlock(made: Emitter) -> Path:
    """Leaves the session as a killed process does: nothing closed, the lock gone. Its directory."""
    assert made.spool._lock_handle is not None
    os.close(made.spool._lock_handle)
    return made.spool.directory


def rows_in(path: Path) -> list[Row]:
    """Every row of a segment file."""
    return read_checked_rows(path.read_bytes(), HEADER_BYTES, 1 << 30)[0]


def is_balanced(ledger: EmitterLedger) -> bool:
    """True if every emitted event is acknowledged, held or dropped."""
    return ledger.emitted == ledger.acknowledged + ledger.held + sum(ledger.dropped.values())


def numbers(made: Emitter, after: int = 0) -> list[Any]:
    """The third field of each row that is held, or the first of a shorter row."""
    found: list[Any] = []
    while rows := made.spool.queue.after(after, 100).rows:
        found += [row[5] if len(row) > 5 else row[3] for row in rows]
        after += len(rows)
    return found
