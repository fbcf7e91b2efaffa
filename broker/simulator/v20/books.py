"""Order and position books: orders and positions of the venue's clients around the price, made up as candles are.

The same seed and time give the same book. The accounts here are not in it: one client is no crowd.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from broker.simulator.clock import NANOS, parse_ns, rfc3339
from broker.simulator.market.instruments import LISTINGS, Listing
from broker.simulator.market.market import SimulatedMarket
from broker.simulator.v20.answers import RefusalError, invalid
from broker.simulator.v20.candles import mid

SNAPSHOT_S = 1200
"""The venue takes one every 20 minutes."""
_REACH = 40
"""Buckets on each side of the price."""
_FADES = 12.0
"""Buckets from the price at which 1/e of the crowd is left."""
_CROWD = 200.0
_LEAN = {"orderBook": 1.6, "positionBook": 1.0}
"""Factor by which more orders buy below the price and sell above it: those that wait for a better one."""


def taken_s(query: Mapping[str, str], now_ns: int) -> int:
    """Unix second of the snapshot that is asked for: the one in force at `time`, else the latest.

    Raises:
        RefusalError: 400 where the time cannot be read, 404 where there is none.
    """
    try:
        wanted_ns = parse_ns(query["time"]) if "time" in query else now_ns
    except ValueError:
        raise invalid("time") from None
    if not 0 <= wanted_ns <= now_ns:
        raise RefusalError(404, {"errorMessage": "The specified snapshot does not exist"})
    return wanted_ns // NANOS // SNAPSHOT_S * SNAPSHOT_S


def links(address: str, at_s: int, now_ns: int) -> str:
    """Header `Link`: addresses of the snapshots before and after."""
    steps = {"prev": at_s - SNAPSHOT_S, "next": at_s + SNAPSHOT_S}
    found = (
        f'<{address}?time={quote(rfc3339(step * NANOS))}>; rel="{relation}"'
        for relation, step in steps.items()
        if step * NANOS <= now_ns
    )
    return ", ".join(found)


def snapshot(market: SimulatedMarket, kind: str, instrument: str, at_s: int) -> dict[str, Any]:
    """`OrderBook` or `PositionBook` of a moment; `kind` is its name in the answer."""
    listing = LISTINGS[instrument]
    price = listing.round(Decimal(repr(mid(market.seed, listing, at_s))))
    width = Decimal(5).scaleb(listing.pip_location)
    chance = random.Random(f"{market.seed}:{kind}:{instrument}:{at_s}")
    return {
        "instrument": instrument,
        "time": rfc3339(at_s * NANOS),
        "price": str(price),
        "bucketWidth": str(listing.round(width)),
        # Seeded by the moment, so that a snapshot is the same whenever it is asked for.
        "buckets": _buckets(listing, price, width, _LEAN[kind], chance),
    }


def _buckets(
    listing: Listing, price: Decimal, width: Decimal, lean: float, chance: random.Random
) -> list[dict[str, str]]:
    # Buckets begin at multiples of their width, wherever the price is.
    middle = int(price // width)
    counts = {}
    for distance in range(-_REACH, _REACH + 1):
        left = _CROWD * math.exp(-abs(distance) / _FADES)
        leans = (lean, 1.0) if distance < 0 else (1.0, lean)
        counts[middle + distance] = tuple(int(left * factor * chance.random()) for factor in leans)
    whole = sum(longs + shorts for longs, shorts in counts.values())
    return [
        {
            "price": str(listing.round(number * width)),
            "longCountPercent": _percent(longs, whole),
            "shortCountPercent": _percent(shorts, whole),
        }
        for number, (longs, shorts) in counts.items()
        if longs or shorts
    ]


def _percent(count: int, whole: int) -> str:
    return str(round(Decimal(100 * count) / whole, 4))
