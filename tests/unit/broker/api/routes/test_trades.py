from __future__ import annotations

from tests.unit.broker.api.conftest import Client


async def test_trade_shows_its_orders_and_its_opener(api: Client) -> None:
    trade = (await api("GET", "/v1/trades/7")).json()

    assert (trade["id"], trade["state"], trade["units"], trade["initial_units"]) == ("7", "open", "-100", "-300")
    assert (trade["client"], trade["order_id"], trade["opened_at"]) == (
        "flow",
        "01ORDER",
        "2026-01-05T10:00:00.250000Z",
    )
    assert trade["take_profit"] == {
        "venue_order_id": "8",
        "order_id": "venue-8",
        "price": "1.20000",
        "distance": None,
        "time_in_force": "gtc",
        "expires_at": None,
        "trigger_condition": "default",
        "tag": None,
        "comment": None,
    }
    assert trade["stop_loss"] is None


async def test_trades_are_listed_by_instrument_and_client(api: Client) -> None:
    counts = [
        len((await api("GET", f"/v1/trades?{query}")).json()["trades"])
        for query in ("", "instrument=EUR_USD", "instrument=USD_JPY", "client=flow", "client=other")
    ]

    assert counts == [1, 1, 0, 1, 0]


async def test_unknown_trade_is_404(api: Client) -> None:
    answer = await api("GET", "/v1/trades/99")

    assert (answer.status, answer.problem) == (404, "unknown-position")
