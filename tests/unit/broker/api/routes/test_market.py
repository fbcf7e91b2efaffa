from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter

from broker.api.schemas.market import CandleList
from broker.venue.errors import AnswerLostError, MarketDataBusyError, NotAuthorizedError, VenueRefusedError
from broker.venue.v20.market_data import BookKind, CandleRequest
from tests.unit.broker.api.conftest import Client


async def test_instrument_has_precision_sizes_margin_and_financing(api: Client) -> None:
    answer = await api("GET", "/v1/instruments/EUR_USD")

    assert answer.json() == {
        "name": "EUR_USD",
        "display_name": "EUR/USD",
        "kind": "currency",
        "display_precision": 5,
        "units_precision": 0,
        "pip_location": -4,
        "minimum_units": "1",
        "maximum_units": "100000000",
        "maximum_position_units": None,
        "margin_rate": "0.0333",
        "minimum_trailing_distance": "0.00050",
        "maximum_trailing_distance": "1.00000",
        "financing": {
            "long_rate": "-0.0251",
            "short_rate": "0.0103",
            "days": [{"day": "wednesday", "days_charged": 3}],
        },
        "tradeable": True,
    }


async def test_instruments_are_listed_with_the_time_at_which_they_were_read(api: Client) -> None:
    body = (await api("GET", "/v1/instruments")).json()

    assert [item["name"] for item in body["instruments"]] == ["EUR_USD"]
    assert body["read_at"] == "2026-01-05T10:00:00.250000Z"


async def test_standby_says_no_tradeable_from_prices_that_it_had_once(api: Client) -> None:
    api.orders.owner = "other:1"
    assert (await api("GET", "/v1/instruments/EUR_USD")).json()["tradeable"] is None


async def test_instrument_that_the_account_lacks_is_404(api: Client) -> None:
    answer = await api("GET", "/v1/instruments/XAU_USD")
    assert (answer.status, answer.problem) == (404, "unknown-instrument")


async def test_candles_take_every_option_of_the_venue(api: Client) -> None:
    query = (
        "granularity=D&price=BA&count=10&from=2026-01-01T00:00:00%2B01:00&smooth=true&include_first=false"
        "&daily_alignment=17&alignment_timezone=America/New_York&weekly_alignment=friday&units=1000"
    )
    assert (await api("GET", f"/v1/instruments/EUR_USD/candles?{query}")).status == 200
    assert api.market.asked == [
        CandleRequest(
            instrument="EUR_USD",
            granularity="D",
            price="BA",
            count=10,
            start=datetime(2025, 12, 31, 23, tzinfo=UTC),
            smooth=True,
            include_first=False,
            daily_alignment=17,
            alignment_timezone="America/New_York",
            weekly_alignment="Friday",
            units=Decimal(1000),
        )
    ]


async def test_candles_are_what_the_document_describes(api: Client) -> None:
    answer = await api("GET", "/v1/instruments/EUR_USD/candles")

    TypeAdapter(CandleList).validate_json(answer.content)
    assert answer.json() == {
        "instrument": "EUR_USD",
        "granularity": "M1",
        "candles": [
            {
                "time": "2026-01-05T10:00:00.250000Z",
                "complete": True,
                "volume": 12,
                "mid": {"o": "1.10000", "h": "1.10030", "l": "1.09990", "c": "1.10010"},
            }
        ],
    }


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("granularity=M3", ["granularity"]),
        ("price=X", ["price"]),
        ("price=MM", ["price"]),
        ("count=0", ["count"]),
        ("count=5001", ["count"]),
        *((f"count={text}", ["count"]) for text in ("1_0", "%2B5", "%205", "%D9%A3", "1e2")),
        *((f"daily_alignment={text}", ["daily_alignment"]) for text in ("1_7", "%2B5", "5%20", "%D9%A3")),
        ("from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&count=5", ["count"]),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", ["to"]),
        ("from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&granularity=S5", ["to"]),
        ("from=2026-01-01", ["from"]),
        ("include_first=true", ["include_first"]),
        ("daily_alignment=24", ["daily_alignment"]),
        ("weekly_alignment=someday", ["weekly_alignment"]),
        ("granularity=M3&price=BB", ["granularity", "price"]),
    ],
)
async def test_candles_against_the_rules_are_422_with_every_field(api: Client, query: str, fields: list[str]) -> None:
    answer = await api("GET", f"/v1/instruments/EUR_USD/candles?{query}")

    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert [item["field"] for item in answer.json()["errors"]] == fields
    assert api.market.asked == []


async def test_longest_range_of_the_venue_is_asked_for(api: Client) -> None:
    query = "from=2026-01-01T00:00:00Z&to=2026-01-01T06:56:40Z&granularity=S5"
    assert (await api("GET", f"/v1/instruments/EUR_USD/candles?{query}")).status == 200


async def test_depth_has_levels_with_their_liquidity(api: Client) -> None:
    assert (await api("GET", "/v1/instruments/EUR_USD/depth")).json() == {
        "instrument": "EUR_USD",
        "time": "2026-01-05T10:00:00.250000Z",
        "tradeable": True,
        "bids": [{"price": "1.10000", "liquidity": "1000000"}, {"price": "1.09990", "liquidity": "5000000"}],
        "asks": [{"price": "1.10020", "liquidity": "1000000"}],
        "closeout_bid": "1.09980",
        "closeout_ask": None,
    }


@pytest.mark.parametrize(("path", "kind"), [("order-book", BookKind.ORDERS), ("position-book", BookKind.POSITIONS)])
async def test_book_is_that_of_the_time_asked_for(api: Client, path: str, kind: BookKind) -> None:
    answer = await api("GET", f"/v1/instruments/EUR_USD/{path}?time=2026-01-05T09:00:00Z")

    assert answer.json() == {
        "instrument": "EUR_USD",
        "time": "2026-01-05T10:00:00.250000Z",
        "price": "1.10010",
        "bucket_width": "0.00050",
        "buckets": [{"price": "1.09950", "long_percent": "0.5128", "short_percent": "0.2564"}],
    }
    assert api.market.asked == [(kind, "EUR_USD", datetime(2026, 1, 5, 9, tzinfo=UTC))]


async def test_conversions_are_of_all_instruments_unless_some_are_named(api: Client) -> None:
    answer = await api("GET", "/v1/conversions")
    await api("GET", "/v1/conversions?instruments=GBP_JPY,EUR_USD")

    assert answer.json() == {
        "conversions": [{"currency": "EUR", "gain": "1.0890", "loss": "1.1110", "position_value": "1.1000"}]
    }
    assert api.market.asked == ["instruments", ["EUR_USD"], ["GBP_JPY", "EUR_USD"]]


def refused(words: str, status: int = 400) -> VenueRefusedError:
    return VenueRefusedError(words, operation="candles", status=status)


@pytest.mark.parametrize(
    ("fault", "status", "problem", "field"),
    [
        (refused("Invalid value specified for 'alignmentTimezone'"), 422, "invalid-request", "alignment_timezone"),
        (refused("Invalid value specified for 'to'. Time is in the future"), 422, "invalid-request", "to"),
        (refused("Maximum value for 'count' exceeded"), 422, "invalid-request", "count"),
        (refused("of a new kind"), 422, "invalid-request", "query"),
        (refused("Invalid value specified for 'instrument'"), 404, "unknown-instrument", None),
        (refused("The specified snapshot does not exist", 404), 404, "no-market-data", None),
        (NotAuthorizedError("no", operation="order_book", status=401), 403, "not-entitled", None),
        (AnswerLostError("late", operation="candles"), 502, "venue-unavailable", None),
        (MarketDataBusyError("64 reads of market data are waiting"), 503, "venue-busy", None),
    ],
)
async def test_venues_refusal_is_told_with_its_field(
    api: Client, fault: Exception, status: int, problem: str, field: str | None
) -> None:
    api.market.fault = fault
    answer = await api("GET", "/v1/instruments/EUR_USD/candles")

    assert (answer.status, answer.problem) == (status, problem)
    errors: list[dict[str, Any]] = answer.json().get("errors", [])
    assert [item["field"] for item in errors] == ([field] if field else [])
