from __future__ import annotations

from tests.unit.broker.api.conftest import Client


async def test_prices_come_from_memory(api: Client) -> None:
    answer = await api("GET", "/v1/prices?instruments=EUR_USD,NO_SUCH")

    assert answer.json() == {
        "prices": [
            {
                "instrument": "EUR_USD",
                "bid": "1.10000",
                "ask": "1.10020",
                "time": "2026-01-05T10:00:00.250000Z",
                "tradeable": True,
            }
        ]
    }
    assert len((await api("GET", "/v1/prices")).json()["prices"]) == 2


async def test_numbers_have_no_exponent(api: Client) -> None:
    (position,) = (await api("GET", "/v1/positions")).json()["positions"]

    assert (position["units"], position["realized_profit"]) == ("-100", "10")


async def test_account_is_the_summary(api: Client) -> None:
    body = (await api("GET", "/v1/account")).json()

    assert (body["currency"], body["balance"], body["last_transaction_id"]) == ("USD", "100000.0000", "7")
