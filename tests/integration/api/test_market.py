"""Market data and the account of a real broker against the simulated venue: each route, as the owner and a standby."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.broker_process import Stand, standing
from tests.integration.api.test_standby import two
from tests.unit.broker.secret_volume import ACCOUNT

pytestmark = pytest.mark.real


async def read(stand: Stand, path: str, **query: str) -> Any:
    status, body = await stand.call("GET", path, key="flow", params=query)
    assert status == 200, body
    return body


async def walk(stand: Stand) -> None:
    """Every route once."""
    listed = await read(stand, "/v1/instruments")
    one = await read(stand, "/v1/instruments/EUR_USD")
    assert {item["name"] for item in listed["instruments"]} > {"EUR_USD", "USD_JPY"}
    assert (one["kind"], one["pip_location"], one["display_precision"]) == ("currency", -4, 5)
    assert Decimal(one["margin_rate"]) > 0

    since = (datetime.now(UTC) - timedelta(days=14)).isoformat()
    candles = await read(
        stand, "/v1/instruments/EUR_USD/candles", granularity="H1", price="MBA", count="5", **{"from": since}
    )
    assert len(candles["candles"]) == 5
    first = candles["candles"][0]
    assert all(Decimal(first["bid"][key]) <= Decimal(first["ask"][key]) for key in "ohlc")
    assert first["time"].endswith("Z")

    depth = await read(stand, "/v1/instruments/EUR_USD/depth")
    assert Decimal(depth["bids"][0]["price"]) < Decimal(depth["asks"][0]["price"])
    assert Decimal(depth["bids"][0]["liquidity"]) > 0

    for path in ("order-book", "position-book"):
        book = await read(stand, f"/v1/instruments/EUR_USD/{path}")
        assert Decimal(book["bucket_width"]) > 0
        assert any(Decimal(item["long_percent"]) > 0 for item in book["buckets"])

    found = await read(stand, "/v1/conversions", instruments="USD_JPY")
    assert "JPY" in {item["currency"] for item in found["conversions"]}

    account = await read(stand, "/v1/account")
    assert (account["id"], account["hedging"], account["environment"]) == (ACCOUNT, False, "other")
    assert Decimal(account["balance"]) > 0


async def test_every_read_is_answered_and_refusals_name_the_field(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        await stand.start_ready()
        await walk(stand)
        assert (await read(stand, "/v1/instruments/EUR_USD"))["tradeable"] is True

        status, body = await stand.call("GET", "/v1/instruments/XXX_YYY/candles")
        assert (status, body["type"]) == (404, "urn:broker:problem:unknown-instrument")
        status, body = await stand.call("GET", "/v1/instruments/EUR_USD/order-book?time=2030-01-01T00:00:00Z")
        assert (status, body["type"]) == (404, "urn:broker:problem:no-market-data")
        status, body = await stand.call("GET", "/v1/instruments/EUR_USD/candles?count=5001")
        assert (status, body["errors"][0]["field"]) == (422, "count")


async def test_refused_book_leaves_the_broker_ready(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        await stand.start_ready()
        await stand.fault(kind="unauthorized", method="GET", path="/orderBook")
        status, body = await stand.call("GET", "/v1/instruments/EUR_USD/order-book")
        assert (status, body["type"]) == (403, "urn:broker:problem:not-entitled")
        assert (await stand.condition("VenueToken"))["ok"]


@pytest.mark.slow
async def test_standby_answers_with_its_own_token(tmp_path: Path) -> None:
    async with two(tmp_path, standby="refuse") as (_, standby):
        await walk(standby)
        assert (await read(standby, "/v1/instruments/EUR_USD"))["tradeable"] is None
