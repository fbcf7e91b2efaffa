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
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import SimulatedMarket
from broker.simulator.v20.answers import RefusalError, invalid
from broker.simulator.v20.candles import mid

SNAPSHOT_S = 1200
"""The venue takes one every 20 minutes."""
_REACH = range(-40, 41)
"""Distances from the price in buckets."""
_FADES = 12.0
"""Buckets from the price at which 1/e of the crowd is left."""
_CROWD = 200.0
_LEAN = {"orderBook": 1.6, "positionBook": 1.0}
"""Factor by which more orders buy below the price and sell above it: those that wait for a better one."""


def taken_s(query: Mapping[str, str], now_ns: int) -> int:
    """Unix second of the snapshot that is asked for: the one in force at `time`, else the latest.

    Raises RefusalError: 400 where the time cannot be read, 404 where there is none.
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
    steps = {"prev": (at_s - SNAPSHOT_S) * NANOS, "next": (at_s + SNAPSHOT_S) * NANOS}
    known = {relation: quote(rfc3339(step)) for relation, step in steps.items() if step <= now_ns}
    return ", ".join(f'<{address}?time={time}>; rel="{relation}"' for relation, time in known.items())


def snapshot(market: SimulatedMarket, kind: str, instrument: str, at_s: int) -> dict[str, Any]:
    """`OrderBook` or `PositionBook` of a moment; `kind` is its name in the answer."""
    listing = LISTINGS[instrument]
    price = listing.round(Decimal(repr(mid(market.seed, listing, at_s))))
    width = Decimal(5).scaleb(listing.pip_location)
    # Seeded by the moment, so that a snapshot is the same whenever it is asked for.
    chance = random.Random(f"{market.seed}:{kind}:{instrument}:{at_s}")
    # Buckets begin at multiples of their width, wherever the price is.
    crowd = {(price // width + distance) * width: _crowd(distance, _LEAN[kind], chance) for distance in _REACH}
    whole = sum(map(sum, crowd.values()))
    buckets = []
    for at, counts in crowd.items():
        longs, shorts = (str(round(Decimal(100 * count) / whole, 4)) for count in counts)
        if any(counts):
            buckets.append({"price": str(listing.round(at)), "longCountPercent": longs, "shortCountPercent": shorts})
    found = {"instrument": instrument, "time": rfc3339(at_s * NANOS), "price": str(price)}
    return {**found, "bucketWidth": str(listing.round(width)), "buckets": buckets}


def _crowd(distance: int, lean: float, chance: random.Random) -> list[int]:
    """Long and short clients in the bucket at a distance from the price."""
    left = _CROWD * math.exp(-abs(distance) / _FADES)
    leans = (lean, 1.0) if distance < 0 else (1.0, lean)
    return [int(left * factor * chance.random()) for factor in leans]
