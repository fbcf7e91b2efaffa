from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from broker.venue.v20 import market_data
from broker.venue.v20.market_data import BookKind, CandleRequest

TIME = "2026-01-05T09:59:00.000000000Z"
AT = datetime(2026, 1, 5, 9, 59, tzinfo=UTC)


def test_only_given_options_of_candles_are_sent() -> None:
    call = market_data.candles(CandleRequest(instrument="EUR_USD", granularity="M1", price="M"))

    assert (call.path, call.query) == ("/instruments/EUR_USD/candles", {"granularity": "M1", "price": "M"})


def test_options_of_candles_have_the_venues_names_and_forms() -> None:
    request = CandleRequest(
        instrument="EUR_USD",
        granularity="W",
        price="BA",
        count=3,
        start=AT,
        end=AT,
        smooth=True,
        include_first=False,
        daily_alignment=0,
        alignment_timezone="Asia/Tokyo",
        weekly_alignment="Friday",
        units=Decimal("1E+3"),
    )
    assert market_data.candles(request).query == {
        "granularity": "W",
        "price": "BA",
        "count": "3",
        "from": "2026-01-05T09:59:00.000000Z",
        "to": "2026-01-05T09:59:00.000000Z",
        "smooth": "true",
        "includeFirst": "false",
        "dailyAlignment": "0",
        "alignmentTimezone": "Asia/Tokyo",
        "weeklyAlignment": "Friday",
        "units": "1000",
    }


def test_candles_keep_the_venues_digits() -> None:
    prices = {"o": "1.10000", "h": "1.1003", "l": "1.09", "c": "1.1001"}
    candle = {"time": TIME, "complete": False, "volume": 7, "mid": prices, "fieldOfTomorrow": 1}
    body = {"instrument": "EUR_USD", "granularity": "M1", "candles": [candle]}

    (found,) = market_data.parse_candles(json.dumps(body).encode()).candles
    assert found.mid is not None
    assert (found.time, found.complete, found.volume, found.bid) == (AT, False, 7, None)
    assert (found.mid.o, found.mid.h, found.mid.l, found.mid.c) == ("1.10000", "1.1003", "1.09", "1.1001")


def test_book_is_below_no_account_and_parsed_by_its_kind() -> None:
    bucket = {"price": "1.0995", "longCountPercent": "0.5128", "shortCountPercent": "0"}
    book = {"instrument": "EUR_USD", "time": TIME, "price": "1.1", "bucketWidth": "0.0005", "buckets": [bucket]}
    call = market_data.book(BookKind.POSITIONS, "EUR_USD", AT)
    found = market_data.parse_book(BookKind.POSITIONS, json.dumps({"positionBook": book}).encode())

    assert (call.path, call.of_account) == ("/instruments/EUR_USD/positionBook", False)
    assert call.query == {"time": "2026-01-05T09:59:00.000000Z"}
    assert (found.bucket_width, found.buckets[0].long_count_percent) == ("0.0005", "0.5128")


def test_depth_has_every_level_whether_liquidity_is_a_number_or_a_text() -> None:
    price: dict[str, Any] = {
        "type": "PRICE",
        "instrument": "EUR_USD",
        "time": TIME,
        "tradeable": True,
        "bids": [{"price": "1.10000", "liquidity": 1000000}, {"price": "1.0999", "liquidity": "0.5"}],
        "asks": [],
        "closeoutBid": "1.0998",
    }
    found = market_data.parse_depth(json.dumps({"prices": [price]}).encode())

    assert [(item.price, str(item.liquidity)) for item in found.bids] == [("1.10000", "1000000"), ("1.0999", "0.5")]
    assert (found.asks, found.closeout_bid, found.closeout_ask) == ((), "1.0998", None)


def test_conversions_are_read_beside_prices() -> None:
    factors = {"currency": "JPY", "accountGain": "0.0066", "accountLoss": "0.0067", "positionValue": "0.00665"}
    call = market_data.pricing(["EUR_USD", "USD_JPY"], conversions=True)
    (found,) = market_data.parse_home_conversions(json.dumps({"prices": [], "homeConversions": [factors]}).encode())

    assert call.query == {"instruments": "EUR_USD,USD_JPY", "includeHomeConversions": "true"}
    assert (found.currency, found.account_gain, found.position_value) == ("JPY", "0.0066", "0.00665")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"candles": [{}]}', b'{"prices": []}', b'{"orderBook": null}'])
def test_other_answers_are_value_errors(body: bytes) -> None:
    for parse in (
        market_data.parse_candles,
        market_data.parse_depth,
        lambda text: market_data.parse_book(BookKind.ORDERS, text),
    ):
        with pytest.raises(ValueError, match=r"."):
            parse(body)
