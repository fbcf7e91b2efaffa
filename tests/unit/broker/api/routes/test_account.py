from __future__ import annotations

from pod_runtime import VERSION
from tests.unit.broker.api.conftest import ACCOUNT, Client
from tests.unit.broker.secret_volume import KEYS


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


async def test_a_key_is_told_its_id_scopes_and_accounts(api: Client) -> None:
    answer = await api("GET", "/v1/key", key=KEYS["auditor"])
    assert (answer.status, answer.json()) == (
        200,
        {"id": "auditor", "scopes": ["read"], "accounts": [ACCOUNT], "version": VERSION},
    )


async def test_an_unknown_key_is_told_nothing(api: Client) -> None:
    answer = await api("GET", "/v1/key", key="no such key")
    assert (answer.status, answer.problem) == (401, "unknown-key")
