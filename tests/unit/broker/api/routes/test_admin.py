from __future__ import annotations

from broker.orders.model.trading_state import TradingState
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.secret_volume import KEYS


async def test_state_is_set_with_actor_and_reason(api: Client) -> None:
    answer = await api("PUT", "/v1/admin/state", key=KEYS["boss"], body={"state": "halted", "reason": "news"})

    assert (answer.status, answer.json()) == (200, {"state": "halted"})
    assert api.orders.states == [(TradingState.HALTED, "boss", "news")]
    assert (await api("GET", "/v1/admin/state")).json() == {"state": "halted"}


async def test_reconcile_tells_the_mismatches(api: Client) -> None:
    answer = await api("POST", "/v1/admin/reconcile", key=KEYS["boss"])

    assert answer.json() == {"mismatches": [{"kind": "position", "subject": "EUR_USD", "ours": "0", "theirs": "100"}]}


async def test_conditions_are_told(api: Client) -> None:
    (condition,) = (await api("GET", "/v1/admin/conditions")).json()["conditions"]

    assert (condition["name"], condition["ok"]) == ("Venue", True)
