from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.simulator.clock import NANOS, parse_ns
from broker.simulator.market.market import SimulatedMarket
from broker.simulator.v20 import candles
from broker.simulator.v20.answers import RefusalError
from tests import v20_schema
from tests.v20_client import V20Client

NOW_NS = parse_ns("2026-11-30T16:40:00Z")
"""A Monday."""
MARKET = SimulatedMarket(1, NOW_NS, ("EUR_USD",))


def ask(**query: str) -> list[dict[str, Any]]:
    query = {"from": query.pop("start"), **query} if "start" in query else query
    found: list[dict[str, Any]] = candles.answer(MARKET, "EUR_USD", query, NOW_NS)["candles"]
    return found


def begin(**query: str) -> list[str]:
    return [candle["time"][:16] for candle in ask(**query)]


def test_days_begin_at_17_in_new_york_in_winter_and_in_summer() -> None:
    """22:00 UTC, and 21:00 in summer: as recorded at the venue (hootnot#192)."""
    found = begin(granularity="D", start="2026-10-28T12:00:00Z", count="5")

    assert found == [
        f"2026-{day}" for day in ("10-27T21:00", "10-28T21:00", "10-29T21:00", "11-01T22:00", "11-02T22:00")
    ]


def test_weeks_begin_on_friday_and_months_with_their_first_day() -> None:
    assert begin(granularity="W", count="3") == ["2026-11-13T22:00", "2026-11-20T22:00", "2026-11-27T22:00"]
    assert begin(granularity="M", count="3") == ["2026-08-31T21:00", "2026-09-30T21:00", "2026-10-31T21:00"]


def test_an_alignment_is_followed() -> None:
    utc = {"alignmentTimezone": "UTC", "dailyAlignment": "0"}

    assert begin(granularity="D", count="2", **utc) == ["2026-11-29T00:00", "2026-11-30T00:00"]
    assert begin(granularity="H6", count="2", **utc) == ["2026-11-30T06:00", "2026-11-30T12:00"]
    assert begin(granularity="M", count="2", **utc) == ["2026-10-01T00:00", "2026-11-01T00:00"]
    assert begin(granularity="W", count="2", weeklyAlignment="Monday") == ["2026-11-16T22:00", "2026-11-23T22:00"]


def test_hours_are_counted_from_the_turn_of_the_day() -> None:
    assert begin(granularity="H4", count="3") == ["2026-11-30T06:00", "2026-11-30T10:00", "2026-11-30T14:00"]


def test_a_weekend_has_no_candles() -> None:
    found = begin(granularity="H1", start="2026-11-27T20:00:00Z", to="2026-11-30T00:00:00Z")

    assert found == ["2026-11-27T20:00", "2026-11-27T21:00", "2026-11-29T22:00", "2026-11-29T23:00"]


def test_the_first_candle_is_the_one_that_covers_the_time_unless_it_is_left_out() -> None:
    asked = {"granularity": "H1", "start": "2026-11-30T10:30:00Z", "count": "2"}

    assert begin(**asked) == ["2026-11-30T10:00", "2026-11-30T11:00"]
    assert begin(**asked, includeFirst="false") == ["2026-11-30T11:00", "2026-11-30T12:00"]


def test_a_client_that_polls_with_its_last_time_gets_only_newer_candles() -> None:
    polled = begin(granularity="H1", start="2026-11-30T15:00:00Z", includeFirst="False")

    assert polled == ["2026-11-30T16:00"]


def test_a_smooth_candle_opens_at_the_close_before_it() -> None:
    rough = ask(granularity="H1", start="2026-11-26T00:00:00Z")
    smooth = ask(granularity="H1", start="2026-11-26T00:00:00Z", smooth="True")

    assert all(before["mid"]["c"] == after["mid"]["o"] for before, after in pairwise(smooth))
    assert any(before["mid"]["c"] != after["mid"]["o"] for before, after in pairwise(rough))
    assert [candle["mid"]["c"] for candle in smooth] == [candle["mid"]["c"] for candle in rough]


def test_the_open_candle_is_not_complete() -> None:
    assert [candle["complete"] for candle in ask(granularity="D", count="2")] == [True, False]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"to": "2026-11-30T16:40:01Z"}, "Invalid value specified for 'to'. Time is in the future"),
        ({"start": "2026-12-30T16:40:01Z"}, "Invalid value specified for 'from'. Time is in the future"),
        ({"count": "5001"}, "Maximum value for 'count' exceeded"),
        ({"start": "2026-11-23T00:00:00Z", "to": "2026-11-27T00:00:00Z"}, "Maximum value for 'count' exceeded"),
        ({"count": "0"}, "Invalid value specified for 'count'"),
        (
            {"start": "2026-11-23T00:00:00Z", "to": "2026-11-24T00:00:00Z", "count": "5"},
            "Invalid value specified for 'count'",
        ),
        ({"dailyAlignment": "24"}, "Invalid value specified for 'dailyAlignment'"),
        ({"alignmentTimezone": "Mars/Olympus"}, "Invalid value specified for 'alignmentTimezone'"),
        ({"alignmentTimezone": "../etc"}, "Invalid value specified for 'alignmentTimezone'"),
        ({"weeklyAlignment": "Caturday"}, "Invalid value specified for 'weeklyAlignment'"),
        ({"includeFirst": "maybe"}, "Invalid value specified for 'includeFirst'"),
        ({"granularity": "H5"}, "Invalid value specified for 'granularity'"),
    ],
)
def test_a_query_that_the_venue_refuses_is_refused_in_its_words(query: dict[str, str], message: str) -> None:
    with pytest.raises(RefusalError) as refused:
        ask(**{"granularity": "S5"} | query)

    assert refused.value.body["errorMessage"] == message


@given(
    granularity=st.sampled_from(["M30", "H1", "H3", "H8", "H12", "D", "W", "M"]),
    start=st.integers(1_500_000_000, 1_795_000_000),
    hour=st.integers(0, 23),
    zone=st.sampled_from(["America/New_York", "UTC", "Asia/Tokyo", "Australia/Lord_Howe"]),
)
def test_candles_follow_one_another_and_backward_is_forward(granularity: str, start: int, hour: int, zone: str) -> None:
    query = {"granularity": granularity, "dailyAlignment": str(hour), "alignmentTimezone": zone}

    forward = begin(**query, start=str(start), count="12")
    until = datetime.fromisoformat(forward[-1]).replace(tzinfo=UTC).timestamp() + 1
    backward = begin(**query, to=str(int(min(until, NOW_NS // NANOS))), count=str(len(forward)))

    assert forward == backward == sorted(set(forward))


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
