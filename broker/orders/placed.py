"""What the desk answers to a request that trades."""

from __future__ import annotations

from dataclasses import dataclass

from broker.domain import Order


@dataclass(frozen=True, slots=True)
class Placed:
    """An order at its first settled status; `replayed` where its id was used before and nothing was sent now."""

    order: Order
    replayed: bool
