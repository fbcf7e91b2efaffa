"""Candles: a made-up past, smooth noise around the start price, the same for the same seed.

They are no record of the prices that the streams showed: that would need a history from before the start.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from broker.simulator.clock import NANOS, parse_ns, rfc3339
from broker.simulator.market.instruments import LISTINGS, Listing
from broker.simulator.market.market import SimulatedMarket
from broker.simulator.v20.answers import invalid, size

LARGEST_COUNT = 5000
DEFAULT_COUNT = 500
_UNITS = {"S": 1, "M": 60, "H": 3600}
_LARGE = {"D": 86_400, "W": 7 * 86_400, "M": 30 * 86_400}
_SIZES = {"S": (5, 10, 15, 30), "M": (1, 2, 4, 5, 10, 15, 30), "H": (1, 2, 3, 4, 6, 8, 12)}
# Periods of 20 days, a day, an hour and a minute: candles of every width show some movement.
_OCTAVES = ((86_400 * 20, 0.01), (86_400, 0.003), (3600, 0.001), (60, 0.0002))
"""Period in seconds, and share of the price that it moves."""


def answer(market: SimulatedMarket, instrument: str, query: Mapping[str, str], now_ns: int) -> dict[str, Any]:
    """Body of `instruments/{instrument}/candles`."""
    granularity = query.get("granularity", "S5")
    width_s = _width_s(granularity)
    components = query.get("price", "M")
    if not components or set(components) - set("MBA"):
        raise invalid("price")
    last = now_ns // NANOS // width_s
    first, end = _range(query, width_s, last)
    candle = partial(_candle, market.seed, LISTINGS[instrument], width_s, components)
    found = [candle(number) | {"complete": number < last} for number in range(first, end)]
    return {"instrument": instrument, "granularity": granularity, "candles": found}


def latest(market: SimulatedMarket, query: Mapping[str, str], now_ns: int) -> dict[str, Any]:
    """Body of `candles/latest`: the last whole candle and the open one of each `instrument:granularity:price`."""
    found = []
    for specification in query.get("candleSpecifications", "").split(","):
        match specification.split(":"):
            case [instrument, granularity, components] if instrument in market.prices:
                asked = {"granularity": granularity, "price": components, "count": "2"}
                found.append(answer(market, instrument, asked, now_ns))
            case _:
                raise invalid("candleSpecifications")
    return {"latestCandles": found}


def _width_s(granularity: str) -> int:
    if granularity in _LARGE:
        return _LARGE[granularity]
    unit, number = granularity[:1], granularity[1:]
    if unit not in _SIZES or number not in map(str, _SIZES[unit]):
        raise invalid("granularity")
    return int(number) * _UNITS[unit]


def _range(query: Mapping[str, str], width_s: int, last: int) -> tuple[int, int]:
    try:
        start, stop = (parse_ns(query[key]) // NANOS // width_s if key in query else None for key in ("from", "to"))
    except ValueError:
        raise invalid("from") from None
    if min(start or 0, stop or 0) < 0:
        raise invalid("from")
    if start is not None and stop is not None:
        if "count" in query or not start <= stop or stop - start > LARGEST_COUNT:
            raise invalid("count")
        return start, min(stop, last + 1)
    count = size(query, "count", DEFAULT_COUNT, LARGEST_COUNT)
    if start is not None:
        return start, min(start + count, last + 1)
    end = last + 1 if stop is None else min(stop, last + 1)
    return end - count, end


def _candle(seed: int, listing: Listing, width_s: int, components: str, number: int) -> dict[str, Any]:
    # A function of the candle's number alone: nothing is stored, and any two ranges agree where they overlap.
    chance = random.Random(f"{seed}:{listing.name}:{width_s}:{number}")
    opened, closed = (mid(seed, listing, at * width_s) for at in (number, number + 1))
    reach = abs(chance.gauss(0, 1)) * listing.volatility * width_s**0.5
    levels = (opened, max(opened, closed) * (1 + reach), min(opened, closed) * (1 - reach), closed)
    found: dict[str, Any] = {"time": rfc3339(number * width_s * NANOS), "volume": chance.randint(1, 20 * width_s)}
    for letter, name, sign in (("B", "bid", -1), ("M", "mid", 0), ("A", "ask", 1)):
        if letter in components:
            shift = sign * listing.half_spread
            prices = (str(listing.round(Decimal(repr(level)) + shift)) for level in levels)
            found[name] = dict(zip("ohlc", prices, strict=True))
    return found


def mid(seed: int, listing: Listing, second: int) -> float:
    """Made-up price at a Unix second."""
    move = sum(share * _noise(f"{seed}:{listing.name}:{period}", second / period) for period, share in _OCTAVES)
    return float(listing.price) * (1 + move)


def _noise(name: str, place: float) -> float:
    """Smooth noise between -1 and 1: chance at whole places, eased between them."""
    left = int(place // 1)
    share = place - left
    # Smoothstep: the slope is 0 at whole places, so that the pieces join without a kink.
    eased = share * share * (3 - 2 * share)
    at, after = (random.Random(f"{name}:{number}").uniform(-1, 1) for number in (left, left + 1))
    return at + (after - at) * eased
