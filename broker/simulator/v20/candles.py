"""Candles: a made-up past, smooth noise around the start price, the same for the same seed.

They are no record of the prices that the streams showed: that would need a history from before the start.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache, partial
from itertools import islice, takewhile
from typing import Any

from broker.simulator.clock import NANOS, parse_ns, rfc3339
from broker.simulator.market.instruments import LISTINGS, Listing
from broker.simulator.market.market import SimulatedMarket
from broker.simulator.v20.alignment import Alignment
from broker.simulator.v20.answers import RefusalError, invalid, whole

LARGEST_COUNT = 5000
DEFAULT_COUNT = 500
Span = tuple[int, int]
"""Beginning and end of a candle, Unix seconds."""
# Periods of 20 days, a day, an hour and a minute: candles of every width show some movement.
_OCTAVES = ((86_400 * 20, 0.01), (86_400, 0.003), (3600, 0.001), (60, 0.0002))
"""Period in seconds, and share of the price that it moves."""
_JUMP = 0.1
"""Part of a candle's own movement by which its first price misses the last one before it."""


def answer(market: SimulatedMarket, instrument: str, query: Mapping[str, str], now_ns: int) -> dict[str, Any]:
    """Body of `instruments/{instrument}/candles`."""
    granularity = query.get("granularity", "S5")
    alignment = Alignment.of(query, granularity)
    components = query.get("price", "M")
    if not components or set(components) - set("MBA"):
        raise invalid("price")
    smooth = _flag(query, "smooth", usual=False)
    spans = _spans(alignment, query, now_ns)
    # A smooth candle opens at the close of the one before it: across a weekend that was days ago.
    opens: list[int | None] = [None] * len(spans)
    if smooth and spans:
        opens = [next(alignment.backward(spans[0][0] - 1))[1], *(end for _, end in spans[:-1])]
    candle = partial(_candle, market.seed, LISTINGS[instrument], components)
    found = [
        candle(span, opened) | {"complete": span[1] * NANOS <= now_ns}
        for span, opened in zip(spans, opens, strict=True)
    ]
    return {"instrument": instrument, "granularity": granularity, "candles": found}


def latest(market: SimulatedMarket, query: Mapping[str, str], now_ns: int) -> dict[str, Any]:
    """Body of `candles/latest`: the last two candles of each `instrument:granularity:price`."""
    shared = {name: query[name] for name in _SHARED if name in query}
    found = []
    for specification in query.get("candleSpecifications", "").split(","):
        match specification.split(":"):
            case [instrument, granularity, components] if instrument in market.prices:
                asked = {**shared, "granularity": granularity, "price": components, "count": "2"}
                found.append(answer(market, instrument, asked, now_ns))
            case _:
                raise invalid("candleSpecifications")
    return {"latestCandles": found}


_SHARED = ("smooth", "dailyAlignment", "alignmentTimezone", "weeklyAlignment")


def _flag(query: Mapping[str, str], name: str, *, usual: bool) -> bool:
    value = query.get(name, str(usual)).lower()
    if value not in ("true", "false", "1", "0"):
        raise invalid(name)
    return value in ("true", "1")


def _spans(alignment: Alignment, query: Mapping[str, str], now_ns: int) -> list[Span]:
    start, stop = (_moment(query, name, now_ns) for name in ("from", "to"))
    include_first = _flag(query, "includeFirst", usual=True)
    if start is None:
        until = now_ns // NANOS if stop is None else max(stop - 1, 0)
        return list(islice(alignment.backward(until), _count(query)))[::-1]
    if stop is not None and ("count" in query or stop < start):
        raise invalid("count")
    spans: Iterator[Span] = alignment.forward(start)
    if not include_first:
        # So that a client may ask with the time of the last candle that it has.
        spans = (span for span in spans if span[0] > start)
    limit = now_ns // NANOS + 1 if stop is None else stop
    spans = takewhile(lambda span: span[0] < limit, spans)
    if stop is None:
        return list(islice(spans, _count(query)))
    found = list(islice(spans, LARGEST_COUNT + 1))
    if len(found) > LARGEST_COUNT:
        raise RefusalError(400, {"errorMessage": "Maximum value for 'count' exceeded"})
    return found


def _count(query: Mapping[str, str]) -> int:
    found = whole(query.get("count", str(DEFAULT_COUNT)), "count")
    if found > LARGEST_COUNT:
        raise RefusalError(400, {"errorMessage": "Maximum value for 'count' exceeded"})
    if not found:
        raise invalid("count")
    return found


def _moment(query: Mapping[str, str], name: str, now_ns: int) -> int | None:
    if name not in query:
        return None
    try:
        found = parse_ns(query[name])
    except ValueError:
        raise invalid(name) from None
    if found > now_ns:
        raise RefusalError(400, {"errorMessage": f"Invalid value specified for '{name}'. Time is in the future"})
    if found < 0:
        raise invalid(name)
    return found // NANOS


def _candle(seed: int, listing: Listing, components: str, span: Span, opens_at: int | None) -> dict[str, Any]:
    # A function of the candle's span: nothing is stored, and any two ranges agree where they overlap.
    start, end = span
    width_s = end - start
    chance = random.Random(f"{seed}:{listing.name}:{start}:{end}")
    move = listing.volatility * width_s**0.5
    opened, closed = mid(seed, listing, start), mid(seed, listing, end)
    jump = 1 + chance.gauss(0, 1) * move * _JUMP
    opened = opened * jump if opens_at is None else mid(seed, listing, opens_at)
    reach = abs(chance.gauss(0, 1)) * move
    levels = (opened, max(opened, closed) * (1 + reach), min(opened, closed) * (1 - reach), closed)
    found: dict[str, Any] = {"time": rfc3339(start * NANOS), "volume": chance.randint(1, 20 * width_s)}
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
    at, after = _chance(name, left), _chance(name, left + 1)
    return at + (after - at) * eased


@lru_cache(maxsize=50_000)
def _chance(name: str, number: int) -> float:
    return random.Random(f"{name}:{number}").uniform(-1, 1)
