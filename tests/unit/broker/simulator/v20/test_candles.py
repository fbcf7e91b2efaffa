from __future__ import annotations

import pytest

from tests import v20_schema
from tests.v20_client import V20Client


async def test_the_latest_candles_are_the_last_whole_one_and_the_open_one(client: V20Client) -> None:
    found = (await client.get("/candles/latest?candleSpecifications=EUR_USD:S10:BM,USD_JPY:H1:M"))["latestCandles"]

    assert [(item["instrument"], item["granularity"]) for item in found] == [("EUR_USD", "S10"), ("USD_JPY", "H1")]
    assert [[candle["complete"] for candle in item["candles"]] for item in found] == [[True, False]] * 2
    assert {*found[0]["candles"][0]} == {"time", "volume", "complete", "bid", "mid"}
    for item in found:
        for candle in item["candles"]:
            assert v20_schema.definition_faults("Candlestick", candle) == []


async def test_the_latest_candles_are_those_of_the_range(client: V20Client) -> None:
    latest = (await client.get("/candles/latest?candleSpecifications=EUR_USD:D:MBA"))["latestCandles"]

    assert latest == [await client.get("/v3/instruments/EUR_USD/candles?granularity=D&price=MBA&count=2")]


@pytest.mark.parametrize("specifications", ["", "EUR_USD", "EUR_USD:S10", "XXX_YYY:S10:M", "EUR_USD:S10:M:M"])
async def test_specifications_that_cannot_be_read_are_refused(client: V20Client, specifications: str) -> None:
    refused = await client.get(f"/candles/latest?candleSpecifications={specifications}", status=400)

    assert refused["errorMessage"] == "Invalid value specified for 'candleSpecifications'"
