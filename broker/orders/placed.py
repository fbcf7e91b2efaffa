"""What the desk answers to a request that trades."""

from __future__ import annotations

from msgspec import Struct

from broker.domain import Order


class Placed(Struct, frozen=True):
    """An order at its first settled status; `replayed` where its id was used before and nothing was sent now."""

    order: Order
    replayed: bool
