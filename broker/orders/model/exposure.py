"""Exposure of working orders: what those that rest, are on their way or are unknown can still make of a position.

An order is worth its units until they are in the position: the store takes a fill into the position and the order out
of here in one step. An order that is presumed absent counts no more, for its caller may place it anew; if it appears
it counts again. The sums follow each change of a record, so that a check costs the same however many orders work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from broker.domain import OrderRequest, OrderStatus, PositionFill, Side
from broker.orders.model.lifecycle import CLOSES, OrderRecord, is_immediate
from broker.venue.v20.order_requests import DEPENDENT

ZERO = Decimal(0)
ACCOUNT = ""
"""Key of the account's own sums, over all clients; no client has an empty id."""
ON_THEIR_WAY = frozenset({OrderStatus.SUBMITTED, OrderStatus.UNKNOWN})
WORKING = ON_THEIR_WAY | {OrderStatus.PENDING}


class WorkingUnits(Struct):
    """Units of working orders in one instrument; `buys` and `sells` are of those that may open a position."""

    orders: int = 0
    buys: Decimal = ZERO
    sells: Decimal = ZERO
    flying_buys: Decimal = ZERO
    """Of `buys`, those on their way."""
    flying_sells: Decimal = ZERO
    closing_buys: Decimal = ZERO
    """On their way, and can only reduce; not in `buys`."""
    closing_sells: Decimal = ZERO

    def take(self, record: OrderRecord, sign: int) -> None:
        """Add (+1) or remove (-1) what a working order is worth."""
        self.add(sign, _fields(record), record.order.request.units - record.order.filled_units)

    def add(self, orders: int, fields: tuple[str, ...], units: Decimal) -> None:
        """Add (1) or remove (-1) an order of so many units to the sums of these names."""
        self.orders += orders
        for name in fields:
            setattr(self, name, getattr(self, name) + orders * units)

    def without(self, record: OrderRecord | None) -> WorkingUnits:
        """The sums besides an order that is replaced; it may be none."""
        if record is None or record.status not in WORKING:
            return self
        found = replace(self)
        found.take(record, -1)
        return found

    def opening(self, side: Side) -> Decimal:
        """Units of one side that may open."""
        return self.buys if side is Side.BUY else self.sells

    def worst(self, position: Decimal, side: Side) -> Decimal:
        """Largest position on one side, in units, that fills can lead to."""
        # In full: a position on the other side may be closed before a resting order fills.
        return max(position * side.sign, ZERO) + self.opening(side)

    def widest(self, position: Decimal) -> Decimal:
        """Largest position on either side."""
        return max(self.worst(position, Side.BUY), self.worst(position, Side.SELL))


def _fields(record: OrderRecord) -> tuple[str, ...]:
    """Names of the sums in which a working order counts."""
    request = record.order.request
    if request.type in DEPENDENT:
        return ()
    flies, side = record.status in ON_THEIR_WAY, "buys" if request.side is Side.BUY else "sells"
    if only_reduces(record):
        return (f"closing_{side}",) if flies else ()
    return (side, f"flying_{side}") if flies else (side,)


def only_reduces(record: OrderRecord) -> bool:
    """True if the venue lets the order reduce a position and do nothing else."""
    request = record.order.request
    held = record.reduce_only or request.position_fill is PositionFill.REDUCE_ONLY
    return held or record.action in CLOSES or request.type in DEPENDENT


def units_to_open(request: OrderRequest, position: Decimal, working: WorkingUnits) -> Decimal:
    """Units that an order opens at worst, beside those that work already."""
    if request.type in DEPENDENT or request.position_fill is PositionFill.REDUCE_ONLY:
        return ZERO
    against = -position * request.side.sign
    # An order that turns the position now has it all against it, but for what others take of it meanwhile. One that
    # rests may find it gone, and so may one that only reduces it; that one is then held to that at the venue.
    if is_immediate(request) and ZERO < against < request.units:
        closing = working.closing_buys if request.side is Side.BUY else working.closing_sells
        return request.units - max(ZERO, against - closing - working.opening(request.side))
    return request.units


def resting_orders(request: OrderRequest) -> int:
    """Most orders that rest because of one: itself until it fills, then those that were attached to it."""
    itself = 0 if is_immediate(request) else 1
    # Written out: asked four times of each order, and a generator costs three times as much.
    legs = (request.take_profit is not None) + (request.stop_loss is not None) + (request.trailing_stop is not None)
    return max(itself, legs)


class ExposureBook:
    """Sums of working orders by instrument: over all clients, and of each client."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, WorkingUnits]] = {ACCOUNT: {}}
        self.flying: dict[str, int] = {}
        """Orders on their way, by instrument."""

    def add(self, record: OrderRecord) -> None:
        """Count a record that was stored."""
        self._take(record, 1)

    def remove(self, record: OrderRecord) -> None:
        """Count a record no more: another one takes its place."""
        self._take(record, -1)

    def of(self, instrument: str, client: str = ACCOUNT) -> WorkingUnits:
        """Working units in an instrument, of one client or of all."""
        return self._sums.get(client, {}).get(instrument) or WorkingUnits()

    def instruments(self, client: str = ACCOUNT) -> set[str]:
        """Names of the instruments in which orders work."""
        return set(self._sums.get(client, ()))

    def _take(self, record: OrderRecord, sign: int) -> None:
        if record.status not in WORKING:
            return
        request, fields = record.order.request, _fields(record)
        units = request.units - record.order.filled_units
        for client in (ACCOUNT, request.client):
            sums = self._sums.setdefault(client, {})
            if (found := sums.get(request.instrument)) is None:
                found = sums[request.instrument] = WorkingUnits()
            found.add(sign, fields, units)
            # No sums of nothing are kept: clients and instruments come and go.
            if not found.orders:
                del sums[request.instrument]
                if not sums and client != ACCOUNT:
                    del self._sums[client]
        if record.status in ON_THEIR_WAY:
            flying = self.flying.get(request.instrument, 0) + sign
            if flying:
                self.flying[request.instrument] = flying
            else:
                del self.flying[request.instrument]


def gross_worth(
    book: ExposureBook,
    client: str,
    held: Mapping[str, Decimal],
    worth: Callable[[str], Decimal | None],
    besides: str = "",
) -> Decimal | None:
    """Worth of what all positions but one can come to at worst; None if the worth of a unit is not known.

    `held` has the signed units by instrument, `worth` is that of one unit of an instrument.
    """
    total = ZERO
    for name in (held.keys() | book.instruments(client)) - {besides}:
        units = book.of(name, client).widest(held.get(name, ZERO))
        each = worth(name) if units else ZERO
        if each is None:
            return None
        total += units * each
    return total
